"""Training datasets as jobs that the registry records: asked for, worked on here or by Dagster, followed, cancelled."""
