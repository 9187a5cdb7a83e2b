"""Offline to online: after every run, what readers get is what the offline table says at that instant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import And, GreaterThanOrEqual
from redis import Redis

from feature_store import BOOL, EMBEDDING, FLOAT, INT, STRING, TIMESTAMP
from feature_store.dtypes import LIST, from_micros
from feature_store.duration import DAY, HOUR
from feature_store.errors import ConflictError, InputError, NotFoundError
from feature_store.offline.tables import arrow_schema, ensure_table
from feature_store.online import materialize as materializing
from feature_store.online.changes import read_files
from feature_store.online.frames import newest_rows
from feature_store.online.keys import progress_key
from feature_store.online.materialize import MaterializeReport, materialize
from feature_store.online.progress import LastUpdated, last_updated
from feature_store.online.reader import OnlineReader
from feature_store.online.vectors import Status
from feature_store.online.writer import GuardedWriter
from feature_store.plan.schema import Column, GroupSchema, ViewedSchema, ViewSchema
from feature_store.settings import Settings
from tests.integration.online_tables import (
    AHEAD,
    ENTITIES,
    START,
    TODAY,
    Row,
    arrow_rows,
    forget,
    naive,
    new_group,
    online,
    write_day,
)

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROWS_OF_A_DAY = st.lists(
    st.tuples(st.none() | st.sampled_from(ENTITIES), st.integers(0, 3), st.none() | st.integers(0, 99)), max_size=8
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 3), ROWS_OF_A_DAY),
        st.tuples(st.just("wait"), st.integers(1, 30), st.none()),
        st.tuples(st.just("forget"), st.none(), st.none()),
        st.tuples(st.just("again"), st.booleans(), st.none()),
    ),
    min_size=2,
    max_size=7,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example([("write", 2, [(0, 0, None), (0, 1, None)]), ("wait", 24, None), ("write", 2, [])], None, 0, 2)
@given(STEPS, st.sampled_from([None, DAY, 2 * DAY]), st.sampled_from([0, 6 * HOUR]), st.sampled_from([2, 1_000_000]))
def test_online_is_what_the_table_says(
    catalog: Catalog,
    redis: Redis,
    reader: OnlineReader,
    steps: list[Any],
    ttl: int | None,
    delay: int,
    rows_at_once: int,
) -> None:
    """Days are written and computed again, rows vanish and become available, Redis is emptied: in any order."""
    group = new_group(ttl=ttl, availability_delay=delay)
    ensure_table(catalog, group)
    now = AHEAD + DAY
    days: dict[int, list[Row]] = {}
    for created, (step, number, drawn) in enumerate(steps):
        match step:
            case "write":
                day = AHEAD + number * DAY
                rows = [
                    Row(e, day + six * 6 * HOUR, TODAY + created * 100 - i, n) for i, (e, six, n) in enumerate(drawn)
                ]
                write_day(catalog, group, day, rows)
                days[number] = rows
            case "wait":
                now += number * HOUR
            case "forget":
                forget(redis, group)
        full = step == "again" and number
        report = materialize(catalog, redis, group, now=from_micros(now), full=full, rows_at_once=rows_at_once)
        outcomes = report.written + report.stale + report.expired + report.deleted
        assert report.entities == outcomes
        assert online(reader, group, now) == naive(group, [row for rows in days.values() for row in rows], now)


def test_only_what_changed_is_read(catalog: Catalog, redis: Redis, reader: OnlineReader) -> None:
    group = new_group()
    first = write_day(catalog, group, START, [Row(e, START, 1, e) for e in range(4)]).current_snapshot()
    now = from_micros(TODAY)
    report = materialize(catalog, redis, group, now=now)
    assert first is not None
    assert (report.full, report.from_snapshot, report.to_snapshot) == (True, None, first.snapshot_id)
    assert (report.entities, report.written, report.newest) == (4, 4, from_micros(START))

    second = write_day(
        catalog, group, START + DAY, [Row(e, START + DAY, 1, 10 + e) for e in range(2)]
    ).current_snapshot()
    assert second is not None
    report = materialize(catalog, redis, group, now=now)
    assert (report.full, report.from_snapshot, report.to_snapshot) == (False, first.snapshot_id, second.snapshot_id)
    assert (report.entities, report.written) == (2, 2)
    assert online(reader, group, TODAY) == {0: 10, 1: 11, 2: 2, 3: 3}
    assert last_updated(redis, group) == LastUpdated(START + DAY, START + DAY)

    report = materialize(catalog, redis, group, now=from_micros(TODAY + 1))
    assert (report.full, report.entities) == (False, 0)
    assert last_updated(redis, group) == LastUpdated(START + DAY, START + DAY)


@pytest.mark.parametrize("rows_at_once", [1, 2, 3, 5])
def test_a_table_larger_than_memory(catalog: Catalog, redis: Redis, reader: OnlineReader, rows_at_once: int) -> None:
    group = new_group(ttl=3 * DAY, buckets=1)
    rows = [Row(e, AHEAD + day * DAY, 1, 10 * day + e) for day in range(5) for e in ENTITIES if e >= day]
    ensure_table(catalog, group).append(arrow_rows(group, rows))
    now = AHEAD + 4 * DAY
    kept: list[int] = []

    def counting(group: GroupSchema, frame: pl.DataFrame) -> pl.DataFrame:
        newest = newest_rows(group, frame)
        kept.append(len(newest))
        return newest

    with patch.object(materializing, "newest_rows", counting):
        report = materialize(catalog, redis, group, now=from_micros(now), rows_at_once=rows_at_once)
    assert (report.entities, report.written, report.expired) == (6, 5, 1)
    assert online(reader, group, now) == naive(group, rows, now)
    assert max(kept) <= rows_at_once


def test_the_oldest_files_are_not_read_where_every_entity_is_found(
    catalog: Catalog, redis: Redis, reader: OnlineReader
) -> None:
    """Keys are read of all five days, features of the last two: one entity has no row of the last day."""
    group = new_group(buckets=1)
    table = ensure_table(catalog, group)
    for day in range(5):
        rows = [Row(e, AHEAD + day * DAY + e, 1, 10 * day + e) for e in ENTITIES if day < 4 or e != 1]
        held = [Row(0, AHEAD + 10 * DAY, 1, 99)] if day == 4 else []
        table.append(arrow_rows(group, rows + held))
    read: list[int] = []

    def counting(*options: Any) -> Iterator[Any]:
        for chunk, rest in read_files(*options):
            read.append(len(chunk))
            yield chunk, rest

    now = AHEAD + 5 * DAY
    with patch.object(materializing, "read_files", counting):
        report = materialize(catalog, redis, group, now=from_micros(now), rows_at_once=7)
    assert read == [6] * 5 + [6] * 2
    assert (report.entities, report.held) == (6, 1)
    assert online(reader, group, now) == {e: 31 if e == 1 else 40 + e for e in ENTITIES}


def test_an_old_partition_computed_again_replaces_nothing_newer(
    catalog: Catalog, redis: Redis, reader: OnlineReader
) -> None:
    group = new_group()
    write_day(catalog, group, START, [Row(0, START, 1, 1), Row(1, START, 1, 2)])
    write_day(catalog, group, START + DAY, [Row(0, START + DAY, 1, 3)])
    materialize(catalog, redis, group)
    write_day(catalog, group, START, [Row(0, START, 2, 10), Row(1, START, 2, 20)])
    report = materialize(catalog, redis, group)
    assert (report.full, report.written, report.stale) == (False, 1, 1)
    assert online(reader, group, TODAY) == {0: 3, 1: 20}


def test_files_that_stay_are_not_read_again(catalog: Catalog, redis: Redis, reader: OnlineReader) -> None:
    """Rewriting one file of a manifest writes a new manifest, in which the other files are old."""
    group = new_group()
    rows = [Row(0, START, 1, 1), Row(1, START + DAY, 1, 2)]
    ensure_table(catalog, group).append(arrow_rows(group, rows))
    materialize(catalog, redis, group)
    write_day(catalog, group, START, [Row(0, START, 2, 3)])
    report = materialize(catalog, redis, group)
    assert (report.full, report.entities, report.written) == (False, 1, 1)
    assert online(reader, group, TODAY) == {0: 3, 1: 2}


def test_of_equal_timestamps_the_last_created_counts(catalog: Catalog, redis: Redis, reader: OnlineReader) -> None:
    group = new_group()
    table = ensure_table(catalog, group)
    table.append(arrow_rows(group, [Row(0, START, 2, 20), Row(0, START, 3, 30), Row(0, START, 1, 10)]))
    materialize(catalog, redis, group)
    assert online(reader, group, TODAY) == {0: 30}
    table.append(arrow_rows(group, [Row(0, START, 5, 50)]))
    table.append(arrow_rows(group, [Row(0, START, 4, 40)]))
    report = materialize(catalog, redis, group)
    assert (report.entities, report.written) == (1, 1)
    assert online(reader, group, TODAY) == {0: 50}


def test_a_row_that_moved_back_in_time_is_one_entity(catalog: Catalog, redis: Redis, reader: OnlineReader) -> None:
    group = new_group()
    write_day(catalog, group, START, [Row(0, START + 6 * HOUR, 1, 1)])
    materialize(catalog, redis, group)
    write_day(catalog, group, START, [Row(0, START, 2, 2)])
    report = materialize(catalog, redis, group)
    assert (report.full, report.entities, report.written) == (False, 1, 1)
    assert online(reader, group, TODAY) == {0: 2}


def test_a_table_whose_buckets_changed(catalog: Catalog, redis: Redis, reader: OnlineReader) -> None:
    group = new_group()
    table = ensure_table(catalog, group)
    table.append(arrow_rows(group, [Row(e, START, 1, 1) for e in ENTITIES]))
    materialize(catalog, redis, group)
    with table.update_spec() as spec:
        spec.remove_field("user_id_bucket")
    table.append(arrow_rows(group, [Row(e, START + DAY, 1, 2) for e in ENTITIES if e]))
    for full in (False, True):
        report = materialize(catalog, redis, group, full=full)
        assert (report.full, report.entities) == (full, 6 if full else 5)
        assert online(reader, group, TODAY) == {e: 2 if e else 1 for e in ENTITIES}
    table.delete(And(GreaterThanOrEqual(term="user_id", value=3), GreaterThanOrEqual(term="n", value=2)))
    assert materialize(catalog, redis, group).full is False
    assert online(reader, group, TODAY) == {0: 1, 1: 2, 2: 2, 3: 1, 4: 1, 5: 1}


def test_a_row_taken_back_leaves_no_trace(catalog: Catalog, redis: Redis, reader: OnlineReader) -> None:
    group = new_group()
    write_day(catalog, group, START, [Row(0, START, 1, 1)])
    write_day(catalog, group, START + DAY, [Row(e, START + DAY, 1, 5) for e in range(3)])
    materialize(catalog, redis, group)
    writer = GuardedWriter(redis, group)
    writer.write([f"{group.id}:{{2}}"], [writer.encode(START + DAY + 1, 1, [7], TODAY)])  # by the stream, newer
    write_day(catalog, group, START + DAY, [])
    report = materialize(catalog, redis, group)
    assert (report.full, report.written, report.deleted, report.stale) == (False, 1, 1, 1)
    assert online(reader, group, TODAY) == {0: 1, 2: 7}


def test_an_emptied_redis_is_filled_again(catalog: Catalog, redis: Redis, reader: OnlineReader) -> None:
    group = new_group()
    write_day(catalog, group, START, [Row(0, START, 1, 1)])
    materialize(catalog, redis, group)
    forget(redis, group)
    assert online(reader, group, TODAY) == {}
    assert materialize(catalog, redis, group).full
    assert online(reader, group, TODAY) == {0: 1}


def test_a_full_run_on_request(catalog: Catalog, redis: Redis, reader: OnlineReader) -> None:
    group = new_group()
    write_day(catalog, group, START, [Row(0, START, 1, 1)])
    materialize(catalog, redis, group)
    redis.delete(f"{group.id}:{{0}}")
    assert materialize(catalog, redis, group).entities == 0
    assert materialize(catalog, redis, group, full=True).written == 1
    assert online(reader, group, TODAY) == {0: 1}


def test_history_that_was_expired_is_no_base(catalog: Catalog, redis: Redis, reader: OnlineReader) -> None:
    group = new_group()
    table = write_day(catalog, group, START, [Row(0, START, 1, 1)])
    report = materialize(catalog, redis, group)
    write_day(catalog, group, START + DAY, [Row(0, START + DAY, 1, 2)])
    table.refresh()
    assert report.to_snapshot is not None
    table.maintenance.expire_snapshots().by_id(report.to_snapshot).commit()
    report = materialize(catalog, redis, group)
    assert (report.full, report.from_snapshot) == (True, None)
    assert online(reader, group, TODAY) == {0: 2}


def test_a_damaged_record_is_no_base(catalog: Catalog, redis: Redis) -> None:
    group = new_group()
    write_day(catalog, group, START, [Row(0, START, 1, 1)])
    materialize(catalog, redis, group)
    redis.hset(progress_key(group), "snapshot", "x")
    assert materialize(catalog, redis, group).full


def test_empty_tables_and_missing_ones(catalog: Catalog, redis: Redis, stack: Settings) -> None:
    group = new_group()
    with pytest.raises(NotFoundError, match=rf"no offline table {group.table}.*\./fs apply"):
        materialize(catalog, redis, group)
    ensure_table(catalog, group)
    report = materialize(stack, redis, group, now=from_micros(TODAY))
    assert (report.entities, report.to_snapshot) == (0, None)
    assert last_updated(redis, group) is None
    write_day(catalog, group, START, [])
    assert materialize(catalog, redis, group).entities == 0
    wider = replace(group, features=(*group.features, Column("m", INT), Column("l", INT)))
    with pytest.raises(ConflictError, match="lacks the columns l, m"):
        materialize(catalog, redis, wider)


def test_a_feature_is_added(catalog: Catalog, redis: Redis, reader: OnlineReader) -> None:
    """Files from before the feature have no column for it; the default is given."""
    group = new_group()
    write_day(catalog, group, START, [Row(0, START, 1, 1), Row(1, START, 1, 1)])
    materialize(catalog, redis, group)
    wider = replace(group, features=(*group.features, Column("m", STRING, default="new")))
    table = ensure_table(catalog, wider)
    row = arrow_rows(group, [Row(0, START + DAY, 1, 2)]).append_column("m", pa.array(["x"]))
    table.append(row)
    report = materialize(catalog, redis, wider)
    assert (report.full, report.written) == (False, 1)
    for full in (False, True):
        materialize(catalog, redis, wider, full=full)
        rows = reader.read(ViewSchema("v", 1, (ViewedSchema(wider),)), [{"user_id": 0}, {"user_id": 1}]).to_dicts()
        assert rows == [{"user_id": 0, "n": 2, "m": "x"}, {"user_id": 1, "n": 1, "m": "new"}]


def test_every_type_arrives(catalog: Catalog, redis: Redis, reader: OnlineReader) -> None:
    features = (
        Column("a", STRING), Column("b", INT), Column("c", FLOAT), Column("d", BOOL), Column("e", TIMESTAMP),
        Column("f", EMBEDDING(2)), Column("g", LIST(STRING)), Column("h", LIST(TIMESTAMP)), Column("i", LIST(FLOAT)),
    )  # fmt: skip
    keys = (Column("name", STRING), Column("number", INT))
    group = new_group(keys=keys, features=features, buckets=3)
    instant = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    values = ["Zoë", 2**63 - 1, 0.1, False, instant, [0.5, -0.5], ["x", None], [instant], [1.5]]
    names = [feature.name for feature in features]
    full = {"name": "a{|}%", "number": -5} | dict(zip(names, values, strict=True))
    null = {"name": "", "number": 0} | dict.fromkeys(names)
    nobody = {"name": None, "number": 1} | dict.fromkeys(names)
    times = {"feature_timestamp": from_micros(START), "created_timestamp": from_micros(START)}
    rows = [row | times for row in (full, null, nobody)]
    ensure_table(catalog, group).append(pa.Table.from_pylist(rows, schema=arrow_schema(group)))
    report = materialize(catalog, redis, group)
    assert (report.entities, report.written) == (2, 2)
    vectors = reader.read(ViewSchema("v", 1, (ViewedSchema(group),)), [full, null, nobody])
    assert vectors.to_dicts() == [full, null, nobody]
    assert [row[group.id] for row in vectors.statuses] == [Status.PRESENT, Status.PRESENT, Status.NOT_FOUND]


def test_files_of_spark_and_its_delete_files(
    catalog: Catalog, redis: Redis, reader: OnlineReader, spark: SparkSession
) -> None:
    group = new_group()
    ensure_table(catalog, group)
    name = f"fs.{group.table}"
    rows = ", ".join(f"({e}L, timestamp_micros({START}L), timestamp_micros({START}L), NULL, {e}L)" for e in ENTITIES)
    spark.sql(f"INSERT INTO {name} VALUES {rows}")
    materialize(catalog, redis, group)
    assert online(reader, group, TODAY) == {e: e for e in ENTITIES}
    spark.sql(f"ALTER TABLE {name} SET TBLPROPERTIES ('write.delete.mode' = 'merge-on-read')")
    spark.sql(f"DELETE FROM {name} WHERE user_id = 0")
    for full in (False, True):
        with pytest.raises(InputError, match=rf"{group.table}.*has delete files.*copy-on-write"):
            materialize(catalog, redis, group, full=full)


def test_a_run_that_failed_is_made_up_for(catalog: Catalog, redis: Redis, reader: OnlineReader) -> None:
    group = new_group(keys=(Column("user_id", STRING),), features=(Column("v", EMBEDDING(2)),), buckets=8)
    table = ensure_table(catalog, group)

    def append(timestamp: int, vectors: dict[str, list[float]]) -> None:
        times = {"feature_timestamp": from_micros(timestamp), "created_timestamp": from_micros(timestamp)}
        rows = [{"user_id": user, "v": vector} | times for user, vector in vectors.items()]
        table.append(pa.Table.from_pylist(rows, schema=arrow_schema(group)))

    append(START, {f"u{i}": [1.0, 2.0] for i in range(20)})
    first: MaterializeReport = materialize(catalog, redis, group)
    append(START + 1, {f"u{i}": [3.0, 4.0] if i else [5.0] for i in range(20)})
    with pytest.raises(InputError, match=r"embedding of 1 numbers in EMBEDDING\(2\)"):
        materialize(catalog, redis, group)
    append(START + 2, {"u0": [6.0, 7.0]})
    report = materialize(catalog, redis, group)
    assert report.from_snapshot == first.to_snapshot
    vectors = reader.read(ViewSchema("v", 1, (ViewedSchema(group),)), [{"user_id": f"u{i}"} for i in range(20)])
    assert [row["v"] for row in vectors.to_dicts()] == [[6.0, 7.0], *[[3.0, 4.0]] * 19]
