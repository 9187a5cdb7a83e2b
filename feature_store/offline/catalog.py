"""The Iceberg catalog: JDBC on PostgreSQL, one name everywhere, read and written by pyiceberg, Spark and Flink."""

from __future__ import annotations

from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from sqlalchemy import select

from feature_store.object_storage import is_in_bucket
from feature_store.settings import Settings

CATALOG = "fs"
POSTGRES_RESTARTS = "57P01,57P02,57P03"
"""PostgreSQL's codes of connections that ended with the server: Iceberg's pools in Java connect again after these."""


def open_catalog(settings: Settings) -> SqlCatalog:
    """The catalog of the stack that the settings name; its tables are made on first use."""
    storage = settings.object_storage.for_python() if is_in_bucket(settings.warehouse) else {}
    return SqlCatalog(
        CATALOG,
        uri=settings.database_url("iceberg"),
        warehouse=settings.warehouse,
        pool_pre_ping="true",  # a restarted server is noticed, instead of failing on its old connections
        **storage,
    )


def table_places(catalog: SqlCatalog) -> dict[str, str]:
    """Where the metadata of each table is, by the table's name, in one query. It moves with every commit."""
    table = IcebergTables
    places = select(table.table_namespace, table.table_name, table.metadata_location)
    with catalog.engine.connect() as connection:
        found = connection.execute(places.where(table.catalog_name == catalog.name))
        return {f"{namespace}.{name}": str(place) for namespace, name, place in found}
