"""Backfills in chunks, in any order: each is published by itself, and all together are one run over everything."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyiceberg.catalog import Catalog

from feature_store import INT, BatchSource, Feature, FeatureGroup, agg
from feature_store.compile.reference import run_reference
from feature_store.compile.reference_events import Row
from feature_store.compile.span import Span
from feature_store.dtypes import arrow_type, from_micros
from feature_store.duration import DAY, HOUR
from feature_store.offline.audit import Audit
from feature_store.offline.catalog import open_catalog
from feature_store.offline.materialize import materialize_span
from feature_store.offline.standing import standing_rows
from feature_store.plan.build import build_plan
from feature_store.settings import Settings
from tests.integration.compared import assert_same_rows
from tests.integration.engine_cases import SCHEMA, START, USER_N_WORD, events, groups

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

CHUNKS = [(START + 2 * n * DAY, START + 2 * (n + 1) * DAY) for n in (-1, 0, 1)]


class Backfill:
    """One group over a folder of events, and its table, which begins empty."""

    def __init__(
        self, spark: SparkSession, stack: Settings, catalog: Catalog, folder: Path, group: FeatureGroup, rows: list[Row]
    ) -> None:
        self.spark, self.settings, self.catalog, self.rows = spark, stack, catalog, rows
        types = pa.schema([(name, arrow_type(dtype)) for name, dtype in SCHEMA.items()])
        pq.write_table(pa.Table.from_pylist(rows, schema=types), folder / "events.parquet")
        assert isinstance(group.source, BatchSource)
        self.plan = build_plan(replace(group, source=replace(group.source, table=None, path=str(folder)), buckets=1))
        if catalog.table_exists(self.plan.schema.table):
            catalog.drop_table(self.plan.schema.table)

    def run(self, chunk: int, audit: Audit | None = None) -> None:
        start, end = map(from_micros, CHUNKS[chunk])
        materialize_span(self.spark, self.settings, self.catalog, self.plan, start, end, audit)

    def run_beside(self, chunk: int) -> None:
        start, end = map(from_micros, CHUNKS[chunk])
        session, catalog = self.spark.newSession(), open_catalog(self.settings)
        materialize_span(session, self.settings, catalog, self.plan, start, end)

    def assert_complete(self) -> None:
        stored = standing_rows(self.catalog.load_table(self.plan.schema.table).scan().to_arrow())
        span = Span(CHUNKS[0][0], CHUNKS[-1][1], first=True)
        wanted = run_reference(self.plan, {"events": self.rows}, span)
        assert_same_rows(stored.drop_columns(["created_timestamp"]).to_pylist(), wanted, self.plan.keys)


EARLY_AND_OFTEN = [
    {"user_id": user, "ts": from_micros(START + hours * HOUR), "amount": 1.0, "n": 0, "word": "a", "ok": True, "id": n}
    for n, (user, hours) in enumerate([("u1", -60), ("u1", -47), ("u2", -30), ("u1", 10), ("u3", 49), ("u2", 95)])
]


def counting(**changes: Any) -> FeatureGroup:
    given: dict[str, Any] = {
        "entity": USER_N_WORD,
        "source": BatchSource("events", table="raw.events", event_timestamp="ts", schema=SCHEMA),
        "owner": "team:test",
        "features": [
            Feature("user_count_2d", agg.count(), window="2d", dtype=INT),
            Feature("user_count_all_time", agg.count(), window="all_time", dtype=INT),
        ],
    }
    return FeatureGroup("user_chunks", **(given | changes))


@settings(
    max_examples=3,
    phases=[Phase.generate],  # a smaller case takes minutes to be found
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(group=groups(), rows=events(), order=st.sampled_from([(2, 0, 1), (1, 2, 0), (2, 1, 0), (1, 0, 2, 0)]))
def test_chunks_in_any_order_are_one_run_over_all(
    quick: SparkSession,
    stack: Settings,
    catalog: Catalog,
    tmp_path: Path,
    group: FeatureGroup,
    rows: list[Row],
    order: Sequence[int],
) -> None:
    backfill = Backfill(quick, stack, catalog, tmp_path, group, rows)
    for chunk in order:
        backfill.run(chunk)
    backfill.assert_complete()


@pytest.mark.parametrize(("chunk", "meanwhile"), [(2, 0), (0, 2)])
def test_a_beginning_that_moves_during_a_run_is_no_beginning(
    quick: SparkSession, stack: Settings, catalog: Catalog, tmp_path: Path, chunk: int, meanwhile: int
) -> None:
    backfill = Backfill(quick, stack, catalog, tmp_path, counting(), EARLY_AND_OFTEN)
    backfill.run(chunk, audit=lambda _: backfill.run(meanwhile))
    backfill.run(1)
    backfill.assert_complete()


def test_chunks_at_once_begin_a_table_together(
    quick: SparkSession, stack: Settings, catalog: Catalog, tmp_path: Path
) -> None:
    backfill = Backfill(quick, stack, catalog, tmp_path, counting(slide="6h"), EARLY_AND_OFTEN)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(backfill.run_beside, range(3)))
    backfill.assert_complete()


def test_what_a_run_that_died_left_to_take_back_is_taken_back_by_the_next(
    quick: SparkSession, stack: Settings, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backfill = Backfill(quick, stack, catalog, tmp_path, counting(), EARLY_AND_OFTEN)
    for chunk in (2, 1):
        backfill.run(chunk)
    with monkeypatch.context() as dying:
        dying.setattr("feature_store.offline.materialize._take_back", die)
        with pytest.raises(KeyboardInterrupt):
            backfill.run(0)
    backfill.run(2)
    backfill.assert_complete()


def die(*_: object) -> None:
    raise KeyboardInterrupt
