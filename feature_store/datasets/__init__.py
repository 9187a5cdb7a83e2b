"""Stored training datasets: their files, the manifest that says how they were made, and how they are read."""
