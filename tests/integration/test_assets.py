"""A group's assets in Dagster on the real stack: a backfill of a range, its checks, Redis behind it, a bad day."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg
import polars as pl
import pytest

from feature_assets.chunks import in_chunks
from feature_assets.keys import offline_key, online_key
from feature_assets.offline import offline_asset
from feature_assets.online import online_asset
from feature_assets.partitions import partitions_of
from feature_assets.sources import source_specs
from feature_store import FLOAT, INT, STRING, TIMESTAMP, BatchSource, Entity, Feature, FeatureGroup, FeatureView, agg
from feature_store.client import FeatureStore
from feature_store.compile.reference import run_reference
from feature_store.compile.reference_events import Row
from feature_store.compile.span import Span
from feature_store.dsl.collect import Project
from feature_store.dtypes import to_micros
from feature_store.errors import NotFoundError
from feature_store.offline.standing import standing_rows
from feature_store.plan.build import build_plan
from feature_store.settings import Settings
from resources.spark import SparkResource
from resources.store import FeatureStoreResource
from tests.integration.compared import assert_same_rows

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DAY0 = datetime(2026, 3, 1, tzinfo=UTC)
FIRST, LAST = "2026-03-01", "2026-03-05"


class Orders:
    """One group over a folder of events, its view, and its assets."""

    def __init__(self, settings: Settings) -> None:
        self.folder = settings.data_root / "raw" / "card_orders"
        self.folder.mkdir(parents=True, exist_ok=True)
        source = BatchSource(
            "card_orders",
            path="raw/card_orders",
            event_timestamp="ts",
            schema={"card_id": STRING, "amount": FLOAT, "ts": TIMESTAMP},
        )
        self.group = FeatureGroup(
            "card_orders",
            entity=Entity("card", join_key="card_id"),
            source=source,
            owner="team:payments",
            start=FIRST,
            buckets=2,
            expect_source={"max_age": "2d", "blocking": False},
            features=[
                Feature("card_order_count_2d", agg.count(), window="2d", dtype=INT, default=0),
                Feature("card_amount_mean_2d", agg.mean("amount"), window="2d", dtype=FLOAT, expect={"max": 100}),
            ],
        )
        self.view = FeatureView("cards", groups=[self.group], owner="team:payments")
        self.plan = build_plan(self.group)
        self.store = FeatureStore(settings)
        self.store.apply(Project((self.group,), (self.view,), {self.group.id: "cards"}))

    def write(self, *rows: tuple[str, float, float]) -> None:
        self.events: list[Row] = [
            {"card_id": card, "amount": amount, "ts": DAY0 + timedelta(hours=hours)} for card, hours, amount in rows
        ]
        schema = {"card_id": pl.String, "amount": pl.Float64, "ts": pl.Datetime("us", "UTC")}
        pl.DataFrame(self.events, schema=schema).write_parquet(self.folder / "events.parquet")

    def materialize(
        self, instance: dg.DagsterInstance, first: str = FIRST, last: str = LAST
    ) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            [
                *source_specs([(self.plan, "cards")]),
                offline_asset(self.plan, "cards", chunk=30),
                online_asset(self.plan, "cards"),
            ],
            resources={"spark": SparkResource(), "store": FeatureStoreResource()},
            tags={"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last},
            instance=instance,
            raise_on_error=False,
        )

    def backfill(self, instance: dg.DagsterInstance, first: str, last: str) -> list[bool]:
        """Whether each chunk of a backfill went well."""
        chunks = [tuple(tags.values()) for tags in in_chunks(self.plan, first, last)]
        return [self.materialize(instance, *chunk).success for chunk in chunks]

    def read(self, *cards: str) -> list[dict[str, object]]:
        return self.store.online(
            "cards@1", [{"card_id": card} for card in cards], now=DAY0 + timedelta(days=5)
        ).to_dicts()


@pytest.fixture
def orders(stack: Settings, spark: SparkSession) -> Orders:
    return Orders(stack)


def test_a_range_is_one_run_and_reaches_redis(orders: Orders) -> None:
    orders.write(("c1", 5, 10), ("c1", 80, 30), ("c2", 100, 7))
    with dg.DagsterInstance.ephemeral() as instance:
        result = orders.materialize(instance)
        assert result.success
        partitions = instance.get_materialized_partitions(offline_key(orders.group))
    assert sorted(partitions) == [f"2026-03-0{n}" for n in range(1, 6)]
    checks = {e.check_name: e.passed for e in result.get_asset_check_evaluations()}
    assert checks == {"schema": True, "unique_key": True, "range": True, "source_freshness": True}
    step = result.asset_materializations_for_node("__".join(offline_key(orders.group).path))[0]
    assert step.metadata["dagster/row_count"].value == 4
    assert "data:image/svg+xml;base64," in str(step.metadata["distribution"].value)
    assert "WITH cleaned AS" in str(step.metadata["sql"].value)
    assert step.metadata["null rate of card_order_count_2d"].value == 0.0
    assert step.metadata["null rate of card_amount_mean_2d"].value == 0.25
    preview = [record.data for record in step.metadata["preview"].records]
    assert {(row["card_id"], row["feature_timestamp"], row["card_amount_mean_2d"]) for row in preview} == {
        ("c1", "2026-03-02 00:00:00+00:00", 10.0),
        ("c1", "2026-03-04 00:00:00+00:00", ""),
        ("c1", "2026-03-05 00:00:00+00:00", 30.0),
        ("c2", "2026-03-06 00:00:00+00:00", 7.0),
    }
    assert orders.read("c1", "c2", "c3") == [
        {"card_id": "c1", "card_order_count_2d": 1, "card_amount_mean_2d": 30.0},
        {"card_id": "c2", "card_order_count_2d": 1, "card_amount_mean_2d": 7.0},
        {"card_id": "c3", "card_order_count_2d": 0, "card_amount_mean_2d": None},
    ]


def test_a_failed_check_publishes_nothing_and_the_next_run_recovers(orders: Orders) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        orders.write(("c9", 5, 10))
        assert orders.materialize(instance, FIRST, FIRST).success
        table = orders.store.catalog.load_table(orders.plan.schema.table)
        orders.write(("c9", 5, 10), ("c9", 30, 1e6))

        bad = orders.materialize(instance, "2026-03-02", "2026-03-02")
        assert not bad.success
        failed = {e.check_name: e for e in bad.get_asset_check_evaluations() if not e.passed}
        assert set(failed) == {"range"}
        assert "card_amount_mean_2d maximum: expected x <= 100, found 500005" in str(
            failed["range"].metadata["expectations"].value
        )
        assert bad.asset_materializations_for_node("__".join(offline_key(orders.group).path)) == []
        (branch,) = set(table.refresh().metadata.refs) - {"main"}
        assert str(failed["range"].metadata["rows are on branch"].value) == branch
        rejected = orders.store.read_group("card_orders@1", snapshot=branch)
        assert max(mean or 0 for mean in rejected["card_amount_mean_2d"].to_pylist()) == 500005
        assert bad.asset_materializations_for_node("__".join(online_key(orders.group).path)) == []
        assert (
            table.refresh().current_snapshot()
            == orders.store.catalog.load_table(orders.plan.schema.table).current_snapshot()
        )
        assert orders.read("c9")[0]["card_amount_mean_2d"] == 10.0

        orders.write(("c9", 5, 10), ("c9", 30, 20))
        assert orders.materialize(instance, "2026-03-02", "2026-03-02").success
        assert orders.read("c9")[0]["card_amount_mean_2d"] == 15.0


def test_a_backfill_with_a_bad_chunk_is_completed_by_what_is_missing(orders: Orders) -> None:
    good = [("b1", day * 24 + hour, 10 + day) for day, hour in enumerate([5, 0, 23.9, 12] * 18)]
    long_ago, bad = ("b2", -30, 7), ("b2", 40 * 24 + 5, 1e6)
    orders.plan = plan = build_plan(replace(orders.group, name="card_history"))
    key, partitions = offline_key(plan.group), partitions_of(plan.group)
    wanted = partitions.get_partition_keys_in_range(dg.PartitionKeyRange(FIRST, "2026-05-14"))
    with dg.DagsterInstance.ephemeral() as instance:
        orders.write(long_ago, *good, bad)
        assert orders.backfill(instance, FIRST, wanted[-1]) == [True, False, True]
        missing = sorted(set(wanted) - instance.get_materialized_partitions(key))
        assert missing == wanted[30:60], "those of the chunk with the bad event"

        orders.write(long_ago, *good, (*bad[:2], 20))
        assert orders.backfill(instance, missing[0], missing[-1]) == [True]
        assert instance.get_materialized_partitions(key) == set(wanted)
    table = standing_rows(orders.store.catalog.load_table(plan.schema.table).scan().to_arrow()).drop_columns(
        ["created_timestamp"]
    )
    span = Span(to_micros(DAY0), to_micros(DAY0 + timedelta(days=len(wanted))), first=True)
    assert_same_rows(table.to_pylist(), run_reference(plan, {"card_orders": orders.events}, span), plan.keys)


def test_a_warning_is_published(orders: Orders) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        orders.write(("c8", 5, 10))
        result = orders.materialize(instance, FIRST, "2026-03-04")
    assert result.success
    (warned,) = (e for e in result.get_asset_check_evaluations() if not e.passed)
    assert (warned.check_name, warned.severity) == ("source_freshness", dg.AssetCheckSeverity.WARN)
    assert warned.metadata["card_orders age (s)"].value == (4 * 24 - 5) * 3600
    assert orders.read("c8")[0]["card_order_count_2d"] == 0


def test_a_table_of_another_type_fails_the_schema_check(orders: Orders) -> None:
    count, mean = orders.group.features
    changed = replace(orders.group, name="card_changed", features=(count,))
    with dg.DagsterInstance.ephemeral() as instance:
        orders.write(("c7", 5, 10))
        orders.plan = build_plan(changed)
        assert orders.materialize(instance, FIRST, FIRST).success
        orders.plan = build_plan(replace(changed, features=(replace(mean, name=count.name),)))
        result = orders.materialize(instance, FIRST, FIRST)
    assert not result.success
    (failed,) = result.get_asset_check_evaluations()
    assert (failed.check_name, failed.passed) == ("schema", False)
    assert "is int64, the definition says double" in str(failed.metadata["found"].value)


def test_training_and_serving_agree(orders: Orders) -> None:
    orders.write(("c5", 5, 10), ("c5", 30, 20), ("c6", 50, 5))
    with dg.DagsterInstance.ephemeral() as instance:
        assert orders.materialize(instance).success
    now = DAY0 + timedelta(days=5)
    labels = [{"card_id": card, "label_timestamp": now, "y": i} for i, card in enumerate(["c6", "c5", "nobody", "c5"])]
    job = orders.store.training_dataset("cards@1", pl.DataFrame(labels), name="cards")
    data = job.wait(60)
    assert job.status() == "SUCCEEDED"
    rows = data.to_polars().drop("label_timestamp", "y").to_dicts()
    assert rows == orders.read("c6", "c5", "nobody", "c5")

    tables = orders.store.read_group("card_orders@1"), orders.store.read_group("card_orders@1", snapshot=data.tag)
    orders.write(("c5", 5, 10))
    with dg.DagsterInstance.ephemeral() as instance:
        assert orders.materialize(instance).success
    assert orders.store.read_group("card_orders@1").num_rows < tables[0].num_rows
    for snapshot in (data.tag, data.snapshots["card_orders@1"]):
        assert orders.store.read_group("card_orders@1", snapshot=snapshot).equals(tables[0])
    assert tables[1].equals(tables[0])
    again = orders.store.training_dataset("cards@1", pl.DataFrame(labels), name="cards", snapshots=data.snapshots)
    assert again.wait(60).to_polars().equals(data.to_polars())
    with pytest.raises(NotFoundError, match=r"features.card_orders_v1 has no tag or branch training-x \(any more\)"):
        orders.store.read_group("card_orders@1", snapshot="training-x")
