"""Any order of any writers ends where the join ends: at the newest row that stands."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import msgspec
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyiceberg.catalog import Catalog
from pyiceberg.io.pyarrow import _dataframe_to_data_files
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from redis import Redis

from feature_store.dtypes import from_micros
from feature_store.duration import DAY, HOUR, MINUTE
from feature_store.offline.tables import ensure_table
from feature_store.online import materialize as materializing
from feature_store.online import writer as writing
from feature_store.online.codec import OFFSET
from feature_store.online.materialize import materialize
from feature_store.online.reader import OnlineReader
from feature_store.online.vectors import Status
from feature_store.online.writer import grace_of
from feature_store.plan.schema import GroupSchema, ViewedSchema, ViewSchema
from feature_store.streaming.updates import UpdateWriter
from tests.integration.online_tables import AHEAD, Row, arrow_rows, forget, new_group, online

ENTITIES = range(3)
LAST = AHEAD + 2 * DAY
"""When everything is compared: all rows are available then."""

DRAWN_ROWS = st.lists(
    st.tuples(st.sampled_from(ENTITIES), st.integers(0, 5), st.integers(0, 9), st.sampled_from([False, False, True])),
    min_size=1,
    max_size=14,
)
"""Entity, hours of the feature timestamp (8 apart), something for the created timestamp, whether it is a retraction."""
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), st.integers(1, 5)),
        st.tuples(st.just("load"), st.lists(st.integers(0, 13), max_size=6)),
        st.tuples(st.just("materialize"), st.fixed_dictionaries({
            "full": st.booleans(), "hours": st.integers(0, 48), "dies": st.booleans(), "began": st.integers(0, 3),
        })),
        st.tuples(st.just("compact"), st.integers(0, 7)),
        st.tuples(st.just("forget"), st.just(0)),
    ),
    max_size=9,
)  # fmt: skip


@dataclass(frozen=True)
class Writers:
    """Everybody who writes one group."""

    catalog: Catalog
    redis: Redis
    group: GroupSchema

    def load(self, rows: Sequence[Row]) -> None:
        """What the loader does with a batch of updates."""
        updates = [
            msgspec.json.encode({"user_id": r.user_id, "_feature": r.timestamp, "_created": r.created, "n": r.n})
            for r in rows
            if not r.retracted
        ]
        if updates:
            UpdateWriter(self.redis, self.group).write(updates)

    def old_values(self, rows: Sequence[Row]) -> None:
        """Values of format 1, as they were written before there was another: the newest row of each entity."""
        for row in sorted(rows, key=lambda r: r.timestamp):
            if not row.retracted:
                header = b"\x01\x00\x01\x00" + (row.timestamp + OFFSET).to_bytes(8, "big")
                writing.GuardedWriter(self.redis, self.group)  # layout 1
                self.redis.set(f"{self.group.id}:{{{row.user_id}}}", header + msgspec.msgpack.encode([row.n]))

    def run(self, table: Table, *, full: bool, hours: int, dies: bool) -> None:
        """A materialization that loaded the table earlier, perhaps; one that dies leaves no record."""
        with ExitStack() as stack:
            stack.enter_context(patch.object(materializing, "_load_table", lambda *_: table))
            if dies:
                stack.enter_context(patch.object(materializing, "save_progress", lambda *_: None))
            materialize(self.catalog, self.redis, self.group, now=from_micros(AHEAD + hours * HOUR), full=full)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(  # a retraction is materialized, and the loader reads the row again
    [(0, 0, 0, False), (0, 2, 0, False), (0, 2, 0, True)],
    [("commit", 3), ("materialize", {"full": False, "hours": 48, "dies": False, "began": 0}), ("load", [1])],
    0, None, 16,
)  # fmt: skip
@given(DRAWN_ROWS, STEPS, st.integers(0, 4), st.sampled_from([None, 10 * HOUR]), st.sampled_from([16, 1]))
def test_any_order_of_any_writers_ends_where_the_join_ends(
    catalog: Catalog,
    redis: Redis,
    reader: OnlineReader,
    drawn: list[tuple[int, int, int, bool]],
    steps: list[tuple[str, Any]],
    old: int,
    ttl: int | None,
    most_tombstones: int,
) -> None:
    group = new_group(ttl=ttl)
    history = history_of(drawn)
    writers = Writers(catalog, redis, group)
    tables = [ensure_table(catalog, group)]
    committed = 0
    writers.old_values(history[:old])
    with patch.object(writing, "MOST_TOMBSTONES", most_tombstones):
        for step, chosen in [*steps, ("commit", len(history))]:
            match step:
                case "commit":
                    rows = list(history[committed : committed + chosen])
                    committed += len(rows)
                    catalog.load_table(group.table).append(arrow_rows(group, rows))
                    tables.append(catalog.load_table(group.table))
                case "load":
                    writers.load([history[i] for i in chosen if i < len(history)])
                case "materialize":
                    began = chosen["began"]
                    options = {name: value for name, value in chosen.items() if name != "began"}
                    writers.run(tables[max(0, len(tables) - 1 - began)], **options)
                case "compact":
                    table = catalog.load_table(group.table)
                    files = sorted((task.file for task in table.scan().plan_files()), key=lambda file: file.file_path)
                    compact(table, [file for place, file in enumerate(files) if chosen >> place % 3 & 1])
                    tables.append(catalog.load_table(group.table))
                case "forget":
                    forget(redis, group)
        materialize(catalog, redis, group, now=from_micros(LAST))
    assert served(reader, group) == {e: standing(group, history, e) for e in ENTITIES}


def test_a_loader_that_was_behind_puts_no_corrected_row_back(
    catalog: Catalog, redis: Redis, reader: OnlineReader
) -> None:
    """Reconcile has corrected the row at the same time, and the loader reads the stream's update again."""
    group = new_group()
    stream, corrected = Row(0, AHEAD, AHEAD + 1, 3), Row(0, AHEAD, AHEAD + 13 * HOUR, 5)
    writers = Writers(catalog, redis, group)
    table = ensure_table(catalog, group)
    table.append(arrow_rows(group, [stream]))
    writers.load([stream])
    table.append(arrow_rows(group, [corrected]))
    for _ in range(2):
        materialize(catalog, redis, group, now=from_micros(LAST))
        assert online(reader, group, LAST) == {0: 5}
        writers.load([stream])
        assert online(reader, group, LAST) == {0: 5}


def test_a_compaction_planned_before_a_correction(catalog: Catalog, redis: Redis, reader: OnlineReader) -> None:
    group = new_group()
    table = ensure_table(catalog, group)
    table.append(arrow_rows(group, [Row(0, AHEAD, AHEAD + 1, 3)]))
    planned = [task.file for task in table.scan().plan_files()]
    table.append(arrow_rows(group, [Row(0, AHEAD, AHEAD + 2, 5)]))
    materialize(catalog, redis, group, now=from_micros(LAST))
    compact(table, planned)
    report = materialize(catalog, redis, group, now=from_micros(LAST))
    assert (report.full, report.stale) == (False, 1)
    assert online(reader, group, LAST) == {0: 5}


def test_an_update_comes_before_a_row_that_materialization_read_earlier(
    catalog: Catalog, redis: Redis, reader: OnlineReader
) -> None:
    """The loader has a correction that the stream has not committed yet."""
    group = new_group()
    ensure_table(catalog, group).append(arrow_rows(group, [Row(0, AHEAD, AHEAD + 1, 3)]))
    Writers(catalog, redis, group).load([Row(0, AHEAD, AHEAD + 2, 5)])
    assert materialize(catalog, redis, group, now=from_micros(LAST)).stale == 1
    assert online(reader, group, LAST) == {0: 5}


@pytest.mark.parametrize("full", [False, True])
def test_retracted_rows_stay_away(catalog: Catalog, redis: Redis, reader: OnlineReader, full: bool) -> None:
    """Entity 0 falls back to an older row, 1 has none left, 2 has a row at the same time that is newer still."""
    group = new_group()
    rows = [Row(e, AHEAD + hours * HOUR, AHEAD, 10 * e + hours) for e in range(3) for hours in (1, 2)]
    table = ensure_table(catalog, group)
    table.append(arrow_rows(group, rows))
    materialize(catalog, redis, group, now=from_micros(LAST))
    taken_back = [replace(row, created=AHEAD + 1, retracted=True) for row in rows if row.user_id or row.n == 2]
    newer = replace(rows[-1], created=AHEAD + 2, n=99)
    table.append(arrow_rows(group, [*taken_back, newer]))
    report = materialize(catalog, redis, group, now=from_micros(LAST), full=full)
    assert (report.entities, report.written, report.deleted) == (3, 2, 1)
    writers = Writers(catalog, redis, group)
    for _ in range(2):
        assert online(reader, group, LAST) == {0: 1, 2: 99}
        writers.load(rows)
        materialize(catalog, redis, group, now=from_micros(LAST), full=full)
    writers.load([Row(1, AHEAD + 2 * HOUR, AHEAD + 3, 7), Row(0, AHEAD + HOUR + 1, AHEAD, 8)])
    assert online(reader, group, LAST) == {0: 8, 1: 7, 2: 99}


def test_a_row_between_many_retractions_is_found(catalog: Catalog, redis: Redis, reader: OnlineReader) -> None:
    """So many become one range, which covers a row that the stream commits later."""
    group = new_group()
    table = ensure_table(catalog, group)
    times = [AHEAD + hours * HOUR for hours in range(1, 20)]
    rows = [Row(0, AHEAD, AHEAD, 0), *(Row(0, t, AHEAD, 1) for t in times)]
    table.append(arrow_rows(group, rows))
    table.append(arrow_rows(group, [Row(0, t, AHEAD + 2, None, retracted=True) for t in times]))
    materialize(catalog, redis, group, now=from_micros(LAST))
    stored = redis.get(f"{group.id}:{{0}}")
    assert isinstance(stored, bytes)
    assert stored[3] == 1
    between = Row(0, times[4] + 1, AHEAD + 1, 5)
    writers = Writers(catalog, redis, group)
    writers.load([*rows, between])
    assert online(reader, group, LAST) == {0: 0}
    table.append(arrow_rows(group, [between]))
    report = materialize(catalog, redis, group, now=from_micros(LAST))
    assert (report.full, report.entities, report.written) == (False, 1, 1)
    writers.load(rows)
    assert online(reader, group, LAST) == {0: 5}


def history_of(drawn: Sequence[tuple[int, int, int, bool]]) -> list[Row]:
    """Rows as they are committed: a row of an entity and time that has one is newer than that one."""
    created: dict[tuple[int, int], int] = {}
    rows = []
    for number, (entity, hours, jitter, retracted) in enumerate(drawn):
        place = (entity, hours)
        created[place] = created.get(place, AHEAD) + (1 + jitter) * MINUTE
        rows.append(Row(entity, AHEAD + 8 * hours * HOUR, created[place], number, retracted or None))
    return rows


def standing(group: GroupSchema, history: Sequence[Row], entity: int) -> tuple[Status, int | None]:
    """Status and value by the definition: of the rows that stand the newest one."""
    newest: dict[int, Row] = {}
    for row in history:
        if row.user_id == entity and (row.timestamp not in newest or newest[row.timestamp].created < row.created):
            newest[row.timestamp] = row
    rows = [row for row in newest.values() if not row.retracted]
    if not rows:
        return Status.NOT_FOUND, -1
    row = max(rows, key=lambda r: r.timestamp)
    if group.ttl is not None and row.timestamp + group.ttl < LAST:
        told_until = max(row.timestamp + group.ttl, row.created) + grace_of(group)
        return (Status.EXPIRED if told_until >= LAST else Status.NOT_FOUND), -1
    return Status.PRESENT, row.n


def served(reader: OnlineReader, group: GroupSchema) -> dict[int, tuple[Status, int | None]]:
    view = ViewSchema("v", 1, (ViewedSchema(group),))
    vectors = reader.read(view, [{"user_id": entity} for entity in ENTITIES], from_micros(LAST))
    found = zip(ENTITIES, vectors.statuses, vectors.to_dicts(), strict=True)
    return {entity: (statuses[group.id], row["n"]) for entity, statuses, row in found}


def compact(table: Table, files: Sequence[DataFile]) -> None:
    """Replaces data files by others with the same rows."""
    with table.transaction() as transaction, transaction.update_snapshot().overwrite() as overwrite:
        for file in files:
            overwrite.delete_data_file(file)
            rows = pq.read_table(file.file_path.removeprefix("file://"), partitioning=None)
            for written in _dataframe_to_data_files(transaction.table_metadata, rows, table.io):
                overwrite.append_data_file(written)
