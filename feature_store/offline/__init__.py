"""The offline store: Iceberg tables computed and written by Spark."""
