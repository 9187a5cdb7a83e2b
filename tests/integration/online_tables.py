"""Offline tables written row by row, and what readers of Redis are to see of them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import And, GreaterThanOrEqual, LessThan
from pyiceberg.table import Table
from redis import Redis

from feature_store import INT
from feature_store.dtypes import from_micros, to_micros
from feature_store.duration import DAY, HOUR
from feature_store.offline.tables import arrow_schema, ensure_table
from feature_store.online.reader import OnlineReader
from feature_store.online.vectors import Status
from feature_store.plan.schema import FEATURE_TIMESTAMP, Column, GroupSchema, ViewedSchema, ViewSchema

TODAY = to_micros(datetime.now(UTC)) // DAY * DAY
START = TODAY - 3 * DAY
AHEAD = TODAY + DAY
"""Where a test moves its own clock: ahead of Redis's, which would delete rows that are old by it."""
ENTITIES = range(6)


@dataclass(frozen=True)
class Row:
    """One offline row; times in microseconds."""

    user_id: int | None
    timestamp: int
    created: int
    n: int | None
    retracted: bool | None = None


def new_group(**changes: Any) -> GroupSchema:
    """A group that no other test writes."""
    group = GroupSchema(
        f"g_{uuid.uuid4().hex}", 1, (Column("user_id", INT),), (Column("n", INT, default=-1),),
        ttl=None, availability_delay=0, freshness=HOUR, buckets=2,
    )  # fmt: skip
    return replace(group, **changes)


def arrow_rows(group: GroupSchema, rows: list[Row]) -> pa.Table:
    instant = pa.timestamp("us", "UTC")
    columns = [
        pa.array([row.user_id for row in rows], pa.int64()),
        pa.array([row.timestamp for row in rows], pa.int64()).cast(instant),
        pa.array([row.created for row in rows], pa.int64()).cast(instant),
        pa.array([row.retracted for row in rows], pa.bool_()),
        pa.array([row.n for row in rows], pa.int64()),
    ]
    return pa.table(columns, schema=arrow_schema(group))


def write_day(catalog: Catalog, group: GroupSchema, day: int, rows: list[Row]) -> Table:
    """Replaces one day of the table in one commit, as a run of its partition does."""
    table = ensure_table(catalog, group)
    first, end = from_micros(day).isoformat(), from_micros(day + DAY).isoformat()
    inside = And(GreaterThanOrEqual(term=FEATURE_TIMESTAMP, value=first), LessThan(term=FEATURE_TIMESTAMP, value=end))
    table.overwrite(arrow_rows(group, rows), overwrite_filter=inside)
    return table


def forget(redis: Redis, group: GroupSchema) -> None:
    """What an emptied Redis does to one group."""
    for key in redis.scan_iter(f"{group.id}:*", count=10_000):
        redis.delete(key)


def online(reader: OnlineReader, group: GroupSchema, now: int, entities: Any = ENTITIES) -> dict[Any, int | None]:
    """The usable value of every entity that has one."""
    vectors = reader.read(
        ViewSchema("v", 1, (ViewedSchema(group),)), [{"user_id": e} for e in entities], from_micros(now)
    )
    found = zip(entities, vectors.to_dicts(), vectors.statuses, strict=True)
    usable = (Status.PRESENT, Status.DEFAULTED)
    return {entity: row["n"] for entity, row, statuses in found if statuses[group.id] in usable}


def naive(group: GroupSchema, rows: list[Row], now: int) -> dict[Any, int | None]:
    """The same by the definition: of each entity's available rows the newest, if it has not expired."""
    expected = {}
    for entity in ENTITIES:
        known = [r for r in rows if r.user_id == entity and r.timestamp + group.availability_delay <= now]
        newest = max(known, key=lambda r: (r.timestamp, r.created), default=None)
        if newest is not None and (group.ttl is None or now <= newest.timestamp + group.ttl):
            expected[entity] = -1 if newest.n is None else newest.n
    return expected
