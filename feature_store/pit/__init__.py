"""The point-in-time join: labels in, the same rows with the features that could be known at each label's time out."""
