"""What has come into a source since a run last looked, found in another way for each kind of source."""
