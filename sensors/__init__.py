"""What Dagster's daemon looks at again and again: streams, their freshness."""
