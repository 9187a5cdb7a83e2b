"""The Iceberg tables that streams write beside the groups' own: event logs and the dead letters."""

from __future__ import annotations

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import assign_fresh_schema_ids
from pyiceberg.table import Table
from pyiceberg.transforms import DayTransform

from feature_store.compile.flink import DEAD_LETTERS, KAFKA_OFFSET, KAFKA_PARTITION, RECORDED_AT
from feature_store.dsl.source import StreamSource
from feature_store.dtypes import TIMESTAMP, arrow_type
from feature_store.errors import ConflictError
from feature_store.offline.tables import create_table, evolve_table, iceberg_schema

_INSTANT = arrow_type(TIMESTAMP)

DEAD_LETTER_SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("group_id", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("kafka_topic", pa.string()),
        ("kafka_partition", pa.int32()),
        ("kafka_offset", pa.int64()),
        ("event_timestamp", _INSTANT),
        ("payload", pa.binary()),
        ("recorded_at", _INSTANT),
    ]
)
"""One row for each event that a group could not use: `reason` is "malformed", "too late", "no key" or "overflow"; a
malformed event has no group. `payload` is the message as it came."""


def ensure_dead_letters(catalog: Catalog) -> Table:
    """The table of dead letters, created if it is missing."""
    return _ensure(catalog, DEAD_LETTERS, DEAD_LETTER_SCHEMA, "recorded_at")


def ensure_log(catalog: Catalog, stream: StreamSource) -> Table:
    """The event log of a source, created if it is missing and given the columns it lacks.

    It has the source's columns, and where in Kafka each event was. Events that were logged before a column was added
    have NULL in it.

    Raises:
        ConflictError: if a column of the table has another type than that of the source, or if the table lacks the one
            of the events' times.
    """
    columns = [(name, arrow_type(dtype)) for name, dtype in stream.schema.items()]
    columns += [(KAFKA_PARTITION, pa.int32()), (KAFKA_OFFSET, pa.int64()), (RECORDED_AT, _INSTANT)]
    wanted = pa.schema(columns)
    table = _ensure(catalog, str(stream.log.table), wanted, stream.event_timestamp)
    if stream.event_timestamp not in table.schema().column_names:
        raise ConflictError(
            f"the event log {stream.log.table} has no column {stream.event_timestamp!r}, which is the events' time",
            where=f"source {stream.name}",
            remedy="name another table in history=",
            code="log-columns",
        )
    evolve_table(
        table,
        wanted,
        where=f"source {stream.name}",
        remedy="name another table in history=, or give the column the type that it has there",
        code="log-columns",
    )
    return table


def _ensure(catalog: Catalog, name: str, columns: pa.Schema, day_of: str) -> Table:
    try:
        return catalog.load_table(name)
    except NoSuchTableError:
        schema = assign_fresh_schema_ids(iceberg_schema(columns))
        day = PartitionField(schema.find_field(day_of).field_id, 1000, DayTransform(), f"{day_of}_day")
        return create_table(catalog, name, schema, PartitionSpec(day))
