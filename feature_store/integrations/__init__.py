"""What connects the feature store to other tools; each is imported by those who use it."""
