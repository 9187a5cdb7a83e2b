"""The embedded stack: Postgres, Valkey, Java and Dagster on one machine, without root, Docker or installed services."""
