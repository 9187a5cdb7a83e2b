"""The client of a server of online vectors: few packages, one answer type with `FeatureStore.online`."""
