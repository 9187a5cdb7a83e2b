"""Label rows in an Iceberg table of the store's catalog, read file by file."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import ArrowScan, schema_to_pyarrow
from pyiceberg.table import Table

from feature_store.errors import InputError


def open_label_table(name: str, catalog: Catalog | None) -> tuple[pa.Schema, Iterator[pa.Table]]:
    """The schema of a table and its rows as they are now: by file, in the order of the files' paths.

    Raises:
        InputError: if the catalog has no such table.
    """
    where = f"labels {name}"
    if catalog is None:
        raise InputError(
            "there is no catalog to find the table in", where=where, remedy="name a file", code="unreadable-labels"
        )
    try:
        table = catalog.load_table(name)
    except (NoSuchTableError, NoSuchNamespaceError) as error:
        raise InputError(
            "the catalog has no such table",
            where=where,
            remedy="name a table as 'namespace.table', or the path of Parquet or CSV files",
            code="unreadable-labels",
        ) from error
    return schema_to_pyarrow(table.schema(), include_field_ids=False), _scanned(table, where)


def _scanned(table: Table, where: str) -> Iterator[pa.Table]:
    scan = ArrowScan(table.metadata, table.io, table.schema(), AlwaysTrue())
    for task in sorted(table.scan().plan_files(), key=lambda task: task.file.file_path):
        try:
            for batch in scan.to_record_batches([task]):
                yield pa.Table.from_batches([batch])
        except OSError as error:
            raise InputError(
                f"a file cannot be read: {error}",
                where=where,
                remedy="see whether the storage answers and the file is there",
                code="unreadable-labels",
            ) from error
