"""The offline table of a group: created from its schema, extended when features are added."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.io.pyarrow import pyarrow_to_schema
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema, assign_fresh_schema_ids
from pyiceberg.table import Table, Transaction
from pyiceberg.table.name_mapping import MappedField, NameMapping
from pyiceberg.transforms import BucketTransform, DayTransform
from sqlalchemy.exc import IntegrityError

from feature_store.dtypes import BOOL, TIMESTAMP, arrow_type
from feature_store.errors import ConflictError
from feature_store.offline.refs import commit
from feature_store.plan.schema import CREATED_TIMESTAMP, FEATURE_TIMESTAMP, RETRACTED, GroupSchema

FIRST_TIMESTAMP = "feature-store.first-timestamp"
"""Table property: the feature timestamp (microseconds) at which the group's history begins."""

# The join kernel reads data files directly: a row is deleted by rewriting its file, never by a delete file.
TABLE_PROPERTIES = {
    "format-version": "2",
    "write.delete.mode": "copy-on-write",
    "write.update.mode": "copy-on-write",
    "write.merge.mode": "copy-on-write",
    "write.parquet.compression-codec": "zstd",
    # Sorted by partition, so that a task has one file open: with one for each day and bucket a long backfill needs
    # gigabytes of heap.
    "write.spark.fanout.enabled": "false",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "50",
}


def arrow_schema(schema: GroupSchema) -> pa.Schema:
    """The columns of a group's offline table, in order."""
    instant = arrow_type(TIMESTAMP)
    keys = [pa.field(key.name, arrow_type(key.dtype)) for key in schema.keys]
    times = [pa.field(FEATURE_TIMESTAMP, instant), pa.field(CREATED_TIMESTAMP, instant)]
    retracted = pa.field(RETRACTED, arrow_type(BOOL))
    return pa.schema([*keys, *times, retracted, *(pa.field(f.name, arrow_type(f.dtype)) for f in schema.features)])


def ensure_table(catalog: Catalog, schema: GroupSchema) -> Table:
    """The group's table, created if it is missing and given the columns it lacks.

    Raises:
        ConflictError: if a column of the table has another type than the definition: that needs a new version.
    """
    wanted = arrow_schema(schema)
    try:
        table = catalog.load_table(schema.table)
    except NoSuchTableError:
        return _create(catalog, schema, wanted)
    evolve_table(
        table,
        wanted,
        where=f"group {schema.id}",
        remedy=f"give the group version {schema.version + 1}",
        code="type-change",
    )
    return table


def evolve_table(table: Table, wanted: pa.Schema, *, where: str, remedy: str, code: str) -> None:
    """Gives a table the columns that it lacks; rows that are there have NULL in them.

    Args:
        where: the definition that says what is wanted, for the message.
        remedy: what its author can do about another type.
        code: of the error.

    Raises:
        ConflictError: if a column of the table has another type.
    """
    name = ".".join(table.name()[-2:])
    present = table.schema().as_arrow()
    for field in wanted:
        if field.name in present.names and _plain(present.field(field.name).type) != _plain(field.type):
            raise ConflictError(
                f"column {field.name!r} of {name} is {_plain(present.field(field.name).type)}, "
                f"the definition says {_plain(field.type)}",
                where=where,
                remedy=remedy,
                code=code,
            )
    if set(wanted.names) - set(present.names):
        commit(table, partial(_add_columns, wanted))


def _add_columns(wanted: pa.Schema, transaction: Transaction) -> None:
    """Those that the table still lacks: another process may have added them meanwhile."""
    with transaction.update_schema() as update:
        update.union_by_name(iceberg_schema(wanted))


def _create(catalog: Catalog, schema: GroupSchema, wanted: pa.Schema) -> Table:
    iceberg = assign_fresh_schema_ids(iceberg_schema(wanted))
    time, key = iceberg.find_field(FEATURE_TIMESTAMP), iceberg.find_field(schema.keys[0].name)
    spec = PartitionSpec(
        PartitionField(time.field_id, 1000, DayTransform(), f"{FEATURE_TIMESTAMP}_day"),
        PartitionField(key.field_id, 1001, BucketTransform(schema.buckets), f"{key.name}_bucket"),
    )
    return create_table(catalog, schema.table, iceberg, spec)


def create_table(catalog: Catalog, name: str, schema: Schema, spec: PartitionSpec) -> Table:
    """A new table, or that of another process which made it at the same moment: runs and sensors begin together."""
    with suppress(IntegrityError):  # the namespace was made meanwhile, too
        catalog.create_namespace_if_not_exists(name.split(".")[0])
    return catalog.create_table_if_not_exists(name, schema, partition_spec=spec, properties=TABLE_PROPERTIES)


def iceberg_schema(wanted: pa.Schema) -> Schema:
    """An Arrow schema with field ids, in the order of its columns."""
    ids = iter(range(1, 10_000))
    mapping = [_mapped(field, ids) for field in wanted]
    return pyarrow_to_schema(wanted, name_mapping=NameMapping(mapping))


def _mapped(field: pa.Field, ids: object) -> MappedField:
    number = next(ids)  # type: ignore[call-overload]
    if pa.types.is_list(field.type):
        element = MappedField(field_id=next(ids), names=["element"], fields=[])  # type: ignore[call-overload]
        return MappedField(field_id=number, names=[field.name], fields=[element])
    return MappedField(field_id=number, names=[field.name], fields=[])


def _plain(dtype: pa.DataType) -> str:
    """A type's name without what files may differ in: 32 or 64 bit offsets, names of list elements."""
    if pa.types.is_list(dtype) or pa.types.is_large_list(dtype):
        return f"list<{_plain(dtype.value_type)}>"
    return str(dtype).removeprefix("large_")
