"""Dagster resources: thin holders of what the engine needs."""
