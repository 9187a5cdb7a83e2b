"""Groups that share tiles, on the real Spark: each has the rows that it would have had alone."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pyiceberg.catalog import Catalog

from feature_assets.keys import offline_key, op_name
from feature_assets.offline import offline_asset
from feature_assets.sources import source_specs
from feature_store import FLOAT, INT, BatchSource, Feature, FeatureGroup, agg, session
from feature_store.compile.reference import run_reference
from feature_store.compile.reference_events import Row
from feature_store.compile.span import Span
from feature_store.compile.spark import compile_spark
from feature_store.compile.spark_direct import DIRECT_INSTANTS
from feature_store.compile.spark_shared import compile_shared_tiles, has_tiles, own_tiles
from feature_store.compile.spark_sliding import compile_tiles, is_slid
from feature_store.dtypes import arrow_type, from_micros
from feature_store.duration import DAY
from feature_store.errors import InputError
from feature_store.offline import materialize
from feature_store.offline.materialize import Materialization, materialize_span
from feature_store.offline.shared_tiles import SharedTiles
from feature_store.offline.sliding import slid_rows
from feature_store.offline.standing import standing_rows
from feature_store.plan.build import build_plan
from feature_store.plan.nodes import GroupPlan
from feature_store.plan.sharing import sharing_groups
from feature_store.settings import Settings
from resources.spark import SparkResource
from resources.store import FeatureStoreResource
from tests.integration.compared import COMPARED, assert_same_rows
from tests.integration.engine_cases import (
    SCHEMA,
    START,
    USER,
    chained_events,
    events,
    groups_of_the_same_tiles,
    sets_of_events,
)
from tests.integration.in_spark import IN_SPARK, show, stored_by

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DAYS = 2 * DIRECT_INSTANTS
SPAN = Span(START, START + DAYS * DAY, first=True)
TYPES = pa.schema([(name, arrow_type(dtype)) for name, dtype in SCHEMA.items()])


@settings(IN_SPARK, max_examples=5)
@given(
    several=groups_of_the_same_tiles(),
    rows=events(),
    seed=st.integers(0, 999),
    first=st.booleans(),
    day=st.integers(-2, 3),
    instants=st.sampled_from([DIRECT_INSTANTS + 1, 72]),
)
def test_random_groups(
    quick: SparkSession, several: list[FeatureGroup], rows: list[Row], seed: int, first: bool, day: int, instants: int
) -> None:
    sets, rows = sharing_groups(map(build_plan, several)), rows + sets_of_events(seed, 3)
    assume(sets)  # groups that leave out other events, because something overflows, share none
    plans = sets[0]
    after = START + day * DAY
    span = Span(after, after + min(instants * plans[0].slide, 12 * DAY), first)
    show(quick, plans[0], {"events": rows})
    quick.sql(compile_shared_tiles(plans, span)).createOrReplaceTempView("all_tiles")
    for plan in plans:
        assert has_tiles(plan, span)
        wanted, tiles = run_reference(plan, {"events": rows}, span), own_tiles(plans, plan, span, "all_tiles")
        assert_same_rows(quick.sql(compile_spark(plan, span, tiles)).toArrow().to_pylist(), wanted, plan.keys)
        if is_slid(plan, span):
            assert_same_rows(slid_rows(quick, plan, span, tiles).toArrow().to_pylist(), wanted, plan.keys)
        COMPARED["spans of groups in Spark from shared tiles"] += 1


class Shop:
    """Two groups over a folder of events, and their tables, which begin empty."""

    def __init__(self, spark: SparkSession, stack: Settings, catalog: Catalog, folder: Path) -> None:
        self.spark, self.settings, self.catalog, self.folder = spark, stack, catalog, folder
        source = BatchSource("events", path=str(folder), event_timestamp="ts", schema=SCHEMA)
        count = Feature("user_count_3d", agg.count(), window="3d", dtype=INT)
        total = Feature("user_amount_sum_5d", agg.sum("amount"), window="5d", dtype=FLOAT, where="ok")
        shared = {"entity": USER, "source": source, "owner": "team:test", "buckets": 1, "start": "2025-12-01"}
        self.groups = [
            FeatureGroup("user_shared_counts", features=[count], **shared),  # type: ignore[arg-type]
            FeatureGroup("user_shared_sums", features=[count, total], **shared),  # type: ignore[arg-type]
        ]
        (self.plans,) = sharing_groups(map(build_plan, self.groups))
        self.rows: list[Row] = []
        for name in ("counts", "sums", "sessions"):
            if catalog.table_exists(table := f"features.user_shared_{name}_v1"):
                catalog.drop_table(table)

    def arrive(self, rows: list[Row], hours_ago: float = 5) -> None:
        file = self.folder / f"{len(self.rows)}.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema=TYPES), file)
        at = (datetime.now(UTC) - timedelta(hours=hours_ago)).timestamp()
        os.utime(file, (at, at))
        self.rows = self.rows + rows

    def run(self, plan: GroupPlan, shared: SharedTiles, after: int = START) -> Materialization:
        times = map(from_micros, (after, after + DAYS * DAY))
        return materialize_span(self.spark, self.settings, self.catalog, plan, *times, shared=shared)

    def sharing(self) -> SharedTiles:
        return SharedTiles(self.spark, self.settings, self.plans)

    def assert_stored(self, plan: GroupPlan, rows: list[Row], after: int = START, until: int | None = None) -> None:
        table = standing_rows(self.catalog.load_table(plan.schema.table).scan().to_arrow())
        span = Span(after, until or after + DAYS * DAY, first=True)
        wanted = run_reference(plan, {"events": rows}, span)
        assert_same_rows(table.drop_columns(["created_timestamp"]).to_pylist(), wanted, plan.keys)

    def explained(self, statement: str) -> str:
        found: str = self.spark.sql(f"EXPLAIN {statement}").collect()[0][0]
        return found


@pytest.fixture
def shop(quick: SparkSession, stack: Settings, catalog: Catalog, tmp_path: Path) -> Shop:
    shop = Shop(quick, stack, catalog, tmp_path)
    shop.arrive(chained_events(7, unit=DAY // 4))
    return shop


@pytest.mark.parametrize("slid_from", [0, 300_000])
def test_tiles_are_made_once_and_dropped_after_the_last_group(
    shop: Shop, slid_from: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the kernel and in SQL alone; the second group is not affected by what becomes of the source's view."""
    monkeypatch.setattr(materialize, "SLID_FROM", slid_from)
    shared, (counts, sums) = shop.sharing(), shop.plans
    first = shop.run(counts, shared)
    assert stored_by(shop.spark) == 1
    tiles = own_tiles(shop.plans, sums, SPAN, "_tiles_of_user_shared_counts_v1")
    for statement in (compile_spark(sums, SPAN, tiles), compile_tiles(sums, SPAN, tiles)):
        assert "InMemoryTableScan" in shop.explained(statement)
    shop.spark.range(0).createOrReplaceTempView("events")
    second = shop.run(sums, shared)
    assert stored_by(shop.spark) == 0
    assert (first.shared, second.shared) == (("user_shared_sums@1",), ("user_shared_counts@1",))
    assert second.inputs == first.inputs
    assert first.sql.startswith("CREATE TEMPORARY VIEW `_tiles_of_user_shared_counts_v1` AS\nSELECT *\nFROM (")
    for plan in shop.plans:
        shop.assert_stored(plan, shop.rows)


def test_a_group_sees_the_rows_that_came_after_the_tiles_were_made(shop: Shop) -> None:
    shared, (counts, sums), before = shop.sharing(), shop.plans, shop.rows
    shop.run(counts, shared)
    shop.arrive(chained_events(8, unit=DAY // 4), hours_ago=4)
    assert shop.run(sums, shared).shared == ()
    assert stored_by(shop.spark) == 0
    shop.assert_stored(counts, before)
    shop.assert_stored(sums, shop.rows)


def test_rows_of_a_former_beginning_are_taken_back_between_two_groups(shop: Shop) -> None:
    later = START + DAYS * DAY
    for after in (later, START):
        shared = shop.sharing()
        for plan in shop.plans:
            assert shop.run(plan, shared, after).shared
    for plan in shop.plans:
        shop.assert_stored(plan, shop.rows, until=later + DAYS * DAY)


def test_few_instants_and_a_last_group_are_computed_without(shop: Shop) -> None:
    shared, (counts, sums) = shop.sharing(), shop.plans
    day = [from_micros(START), from_micros(START + DAY)]
    assert materialize_span(shop.spark, shop.settings, shop.catalog, counts, *day, shared=shared).shared == ()
    assert shop.run(sums, shared).shared == ()
    assert stored_by(shop.spark) == 0
    shop.assert_stored(sums, shop.rows)


def test_the_only_group_that_has_tiles_makes_its_own(shop: Shop) -> None:
    """A session has them even of few instants."""
    feature = Feature("user_count_session", agg.count(), window=session("1d"), dtype=INT)
    sessions = build_plan(replace(shop.groups[0], name="user_shared_sessions", features=(feature,)))
    shared = SharedTiles(shop.spark, shop.settings, (*shop.plans, sessions))
    day = [from_micros(START), from_micros(START + DAY)]
    for plan in (sessions, *shop.plans):
        assert materialize_span(shop.spark, shop.settings, shop.catalog, plan, *day, shared=shared).shared == ()
    assert stored_by(shop.spark) == 0
    shop.assert_stored(sessions, shop.rows, until=START + DAY)


def test_tiles_wait_for_a_group_that_is_tried_again(shop: Shop) -> None:
    shared, (counts, sums) = shop.sharing(), shop.plans
    gone = shop.folder.rename(shop.folder.with_name("gone"))
    with pytest.raises(InputError):
        shop.run(counts, shared)
    gone.rename(shop.folder)
    for plan in (sums, counts):
        assert shop.run(plan, shared).shared
        shop.assert_stored(plan, shop.rows)
    assert stored_by(shop.spark) == 0


def test_groups_of_one_dagster_run_share(shop: Shop, spark: SparkSession) -> None:
    """`spark` is running already, so the run's session is the tests' own."""
    assets = [offline_asset(plan, "shop", chunk=30, sharing=shop.plans) for plan in shop.plans]
    first, last = (f"{from_micros(START + day * DAY):%Y-%m-%d}" for day in (0, DAYS - 1))
    for chosen in (assets, assets[:1]):
        result = dg.materialize(
            [*source_specs((plan, "shop") for plan in shop.plans), *assets],
            selection=chosen,
            resources={"spark": SparkResource(), "store": FeatureStoreResource()},
            tags={"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last},
        )
        made = [step for step in map(result.asset_materializations_for_node, map(step_name, shop.plans)) if step]
        others = [step[0].metadata.get("tiles shared with") for step in made]
        told = [other and other.value for other in others]
        assert told == (["user_shared_sums@1", "user_shared_counts@1"] if len(chosen) > 1 else [None])
    assert stored_by(shop.spark) == 0
    for plan in shop.plans:
        shop.assert_stored(plan, shop.rows)


def step_name(plan: GroupPlan) -> str:
    return op_name(offline_key(plan.group))
