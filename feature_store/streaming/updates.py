"""Updates: rows of a streaming group as its job writes them to Kafka, and as they come into Redis."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import polars as pl

from feature_store.dtypes import TIMESTAMP, DType, to_micros
from feature_store.online.frames import encode_rows, newest_rows
from feature_store.online.keys import entity_keys
from feature_store.online.writer import GuardedWriter
from feature_store.plan.schema import CREATED_TIMESTAMP, FEATURE_TIMESTAMP, GroupSchema

if TYPE_CHECKING:
    from redis import Redis

_POLARS = {"STRING": pl.String, "INT": pl.Int64, "FLOAT": pl.Float64, "BOOL": pl.Boolean, "TIMESTAMP": pl.Int64}
_INSTANT = pl.Datetime("us", "UTC")


class UpdateWriter:
    """Writes the updates of one group to Redis, through the guard.

    Args:
        redis: from `connect`.
        schema: of the group.
    """

    def __init__(self, redis: Redis, schema: GroupSchema) -> None:
        self._schema = schema
        self._writer = GuardedWriter(redis, schema)

    def write(self, updates: Sequence[bytes]) -> None:
        """Writes the newest row of each entity among some messages, unless Redis has a newer one."""
        schema = self._schema
        frame = newest_rows(schema, read_updates(schema, updates))
        times, now = frame[FEATURE_TIMESTAMP].to_physical(), to_micros(datetime.now(UTC))
        expired = pl.repeat(False, len(frame), eager=True) if schema.ttl is None else times + schema.ttl < now
        rows = encode_rows(schema, frame, self._writer.codec.number, expired)
        self._writer.write(entity_keys(schema, frame).to_list(), rows)


def read_updates(schema: GroupSchema, values: Sequence[bytes]) -> pl.DataFrame:
    """The rows of some messages, in the types of the offline table."""
    times = {"_feature": TIMESTAMP, "_created": TIMESTAMP}
    columns = {column.name: column.dtype for column in (*schema.keys, *schema.features)} | times
    raw = pl.read_ndjson(b"\n".join(values), schema={name: _json_type(dtype) for name, dtype in columns.items()})
    instants = [pl.col(name).cast(_stored_type(dtype)) for name, dtype in columns.items() if _has_time(dtype)]
    return raw.with_columns(instants).rename({"_feature": FEATURE_TIMESTAMP, "_created": CREATED_TIMESTAMP})


def _json_type(dtype: DType) -> pl.DataType:
    return pl.List(_json_type(dtype.item)) if dtype.item is not None else _POLARS[dtype.kind]()


def _stored_type(dtype: DType) -> pl.DataType:
    return pl.List(_INSTANT) if dtype.item is not None else _INSTANT


def _has_time(dtype: DType) -> bool:
    return TIMESTAMP in (dtype, dtype.item)
