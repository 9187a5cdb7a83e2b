"""The Iceberg catalog: JDBC on PostgreSQL, one name everywhere, read and written by pyiceberg, Spark and Flink."""

from __future__ import annotations

from pyiceberg.catalog.sql import SqlCatalog

from feature_store.settings import Settings

CATALOG = "fs"


def open_catalog(settings: Settings) -> SqlCatalog:
    """The catalog of the stack that the settings name; its tables are made on first use."""
    return SqlCatalog(
        CATALOG,
        uri=settings.database_url("iceberg"),
        warehouse=settings.warehouse,
        pool_pre_ping="true",  # a restarted server is noticed, instead of failing on its old connections
    )
