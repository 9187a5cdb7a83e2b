"""What must change nothing about a training dataset: order and cut of labels, rows of the future, how files are laid
out, memory, workers."""

from __future__ import annotations

import random
import tempfile
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiceberg.catalog.sql import SqlCatalog

from feature_store.duration import DAY
from feature_store.offline.tables import ensure_table
from feature_store.pit import budget
from feature_store.pit.budget import JoinBudget
from feature_store.pit.dataset import build_in
from feature_store.pit.gathering import gather_labels
from feature_store.pit.join import join_view
from feature_store.pit.labels import open_labels
from feature_store.pit.planning import current_snapshot_id, open_table, plan_group
from feature_store.pit.scratch import Scratch
from feature_store.pit.semantics import KnownBy, Row
from feature_store.pit.spilled import join_spilled
from feature_store.plan.schema import CREATED_TIMESTAMP, FEATURE_TIMESTAMP, GroupSchema, ViewSchema
from tests.unit.pit.pit_cases import at, cases, read_labels, rows_table, view
from tests.unit.pit.test_roles import catalog_of

IN_MEMORY = 1 << 30
KNOWN_BY = st.sampled_from([None, "label"])
MEMORY = st.sampled_from([0, IN_MEMORY])
EVER = (-(10**17), 10**17)
Case = tuple[list[Row], list[tuple[GroupSchema, list[Row]]]]


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "_LEAST_ROWS", 2)


class Store:
    """The groups of a case in a catalog of their own."""

    def __init__(self, folder: str, groups: list[tuple[GroupSchema, list[Row]]]) -> None:
        self.folder = Path(folder)
        self.catalog: SqlCatalog = catalog_of(self.folder, {})
        self.reads: ViewSchema = view(*(schema for schema, _ in groups))
        for schema, rows in groups:
            self.add(schema, rows)

    def add(self, schema: GroupSchema, rows: list[Row]) -> None:
        ensure_table(self.catalog, schema).append(rows_table(schema, rows))

    def compact(self, schema: GroupSchema) -> None:
        """Puts all rows into new files in another order: those of a key and a time together, the last written first."""
        table = open_table(self.catalog, schema)
        key = [(column.name, "descending") for column in schema.keys]
        times = [(FEATURE_TIMESTAMP, "descending"), (CREATED_TIMESTAMP, "descending")]
        rows = table.scan().to_arrow().sort_by([*key, *times])
        if rows.num_rows:
            table.overwrite(rows)

    def rows(self, labels: list[Row], known_by: KnownBy, memory: int = IN_MEMORY) -> list[Row]:
        training = self.folder / "training"
        made = build_in(self.catalog, training, self.reads, labels, name="x", known_by=known_by, memory=memory)
        rows: list[Row] = made.table.to_pylist()
        return rows


@settings(max_examples=8, deadline=None)
@given(
    case=cases(),
    known_by=st.sampled_from([None, "label"]),
    seed=st.integers(0, 99),
    memory=st.sampled_from([0, IN_MEMORY]),
)
def test_shuffling_and_splitting_the_labels(case: Case, known_by: KnownBy, seed: int, memory: int) -> None:
    labels, groups = case
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder, groups)
        whole = store.rows(labels, known_by, memory)
        order = random.Random(seed).sample(range(len(labels)), len(labels))
        assert store.rows([labels[n] for n in order], known_by, memory) == [whole[n] for n in order]
        cut = seed % len(labels)
        parts = [store.rows(part, known_by, memory) for part in (labels[:cut], labels[cut:]) if part]
        assert [row for part in parts for row in part] == whole


@settings(max_examples=4, deadline=None)
@given(case=cases(), known_by=KNOWN_BY, memory=MEMORY)
def test_rows_of_the_future(case: Case, known_by: KnownBy, memory: int) -> None:
    """Rows after every label, of every entity, however early they claim to have been written."""
    labels, groups = case
    future = {FEATURE_TIMESTAMP: at(41 * DAY), CREATED_TIMESTAMP: at(-90 * DAY)}
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder, groups)
        before = store.rows(labels, known_by, memory)
        for schema, rows in groups:
            store.add(schema, [{**row, **future} for row in rows])
        assert store.rows(labels, known_by, memory) == before


@settings(max_examples=5, deadline=None)
@given(case=cases(), known_by=KNOWN_BY, memory=MEMORY, cut=st.integers(0, 25))
def test_compaction(case: Case, known_by: KnownBy, memory: int, cut: int) -> None:
    """Rows of several commits, rewritten; two equal in key and both times have no order that a file could keep."""
    labels, groups = case
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder, [(schema, []) for schema, _ in groups])
        for schema, rows in groups:
            keys = [*(key.name for key in schema.keys), FEATURE_TIMESTAMP, CREATED_TIMESTAMP]
            distinct = list({tuple(row[key] for key in keys): row for row in rows}.values())
            for part in (distinct[:cut], distinct[cut:]):
                store.add(schema, part)
        before = store.rows(labels, known_by, memory)
        for schema, _ in groups:
            store.compact(schema)
        assert store.rows(labels, known_by, memory) == before


@settings(max_examples=8, deadline=None)
@given(case=cases(), known_by=KNOWN_BY)
def test_memory_and_workers(case: Case, known_by: KnownBy) -> None:
    labels, groups = case
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder, groups)
        tables = [open_table(store.catalog, viewed.group) for viewed in store.reads.groups]
        plans = [
            plan_group(table, viewed, current_snapshot_id(table), EVER)
            for table, viewed in zip(tables, store.reads.groups, strict=True)
        ]
        expected = join_view(read_labels(labels, store.reads).table, store.reads, plans, known_by)
        tiny = JoinBudget.of(0, store.reads, 0)
        for workers, slices, pieces in ((1, 1, 1), (1, 100, 4), (3, 2, 2), (8, 3, 32)):
            allowed = replace(tiny, workers=workers, slice_rows=slices, piece_rows=pieces, group_rows=4 * workers)
            with Scratch(Path(folder) / "scratch") as scratch:
                spilled, _ = gather_labels(open_labels(labels, store.reads), lambda _, b=allowed: b, scratch)  # type: ignore[misc]
                assert not hasattr(spilled, "table")
                found = join_spilled(spilled, store.reads, plans, known_by, allowed)
                parts = [found.piece(n, spilled.piece(n).num_rows) for n in spilled.pieces]
                assert pa.concat_tables([part.features for part in parts]).equals(expected.features)
                assert {
                    name: sum(part.missing[name] for part in parts) for name in expected.missing
                } == expected.missing
