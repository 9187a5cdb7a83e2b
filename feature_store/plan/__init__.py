"""Definitions as one typed logical plan."""
