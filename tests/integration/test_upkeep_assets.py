"""The asset of maintenance and the sensor of late rows in Dagster, on the real stack."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING

import dagster as dg
import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from feature_assets.keys import maintenance_key, op_name
from feature_assets.maintenance import kept_tables, maintenance_asset
from feature_assets.offline import offline_asset
from feature_assets.online import online_asset
from feature_assets.sources import source_specs
from feature_store import FLOAT, INT, STRING, TIMESTAMP, BatchSource, Entity, Feature, FeatureGroup, StreamSource, agg
from feature_store.client import FeatureStore
from feature_store.offline.late import late_spans
from feature_store.offline.standing import standing_rows
from feature_store.plan.build import build_plan
from feature_store.settings import Settings
from resources.spark import SparkResource
from resources.store import FeatureStoreResource
from sensors.late_rows import late_row_sensors

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DAY0 = datetime(2026, 3, 1, tzinfo=UTC)
EVENTS = pa.schema([("card_id", pa.string()), ("amount", pa.float64()), ("ts", pa.timestamp("us", "UTC"))])
SCHEMA = {"card_id": STRING, "amount": FLOAT, "ts": TIMESTAMP}
_versions = count(1)
RESOURCES = {"spark": SparkResource(), "store": FeatureStoreResource()}


class Payments:
    """A group over an Iceberg table."""

    def __init__(self, settings: Settings, catalog: Catalog, version: int) -> None:
        catalog.create_namespace_if_not_exists("raw")
        if catalog.table_exists("raw.payments"):
            catalog.drop_table("raw.payments")
        self.source = catalog.create_table("raw.payments", EVENTS)
        self.plan = build_plan(
            FeatureGroup(
                "card_payments",
                version=version,
                entity=Entity("card", join_key="card_id"),
                source=BatchSource("payments", table="raw.payments", event_timestamp="ts", schema=SCHEMA),
                owner="team:payments",
                start="2026-03-01",
                buckets=2,
                features=[Feature("card_payment_count_2d", agg.count(), window="2d", dtype=INT, default=0)],
            )
        )
        self.store = FeatureStore(settings)
        (self.sensor,) = late_row_sensors([self.plan])

    def arrive(self, *rows: tuple[str, float]) -> None:
        events = [{"card_id": card, "amount": 1.0, "ts": DAY0 + timedelta(hours=hours)} for card, hours in rows]
        self.source.append(pa.Table.from_pylist(events, EVENTS))

    def run(self, instance: dg.DagsterInstance, first: str, last: str) -> None:
        result = dg.materialize(
            [
                *source_specs([(self.plan, "cards")]),
                offline_asset(self.plan, "cards", chunk=30),
                online_asset(self.plan, "cards"),
            ],
            resources=RESOURCES,
            tags={"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last},
            instance=instance,
        )
        assert result.success

    def asked(self, instance: dg.DagsterInstance) -> Sequence[dg.RunRequest]:
        with dg.build_sensor_context(instance=instance, resources={"store": FeatureStoreResource()}) as context:
            found = self.sensor(context)
        assert isinstance(found, dg.SensorResult)
        return found.run_requests or []

    def counts(self) -> dict[tuple[str, datetime], int]:
        rows = standing_rows(self.store.catalog.load_table(self.plan.schema.table).scan().to_arrow()).to_pylist()
        return {(row["card_id"], row["feature_timestamp"]): row["card_payment_count_2d"] for row in rows}


@pytest.fixture
def payments(stack: Settings, spark: SparkSession, catalog: Catalog) -> Payments:
    return Payments(stack, catalog, next(_versions))


def test_late_rows_correct_the_partitions_they_touch(payments: Payments) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        payments.arrive(("a", 1), ("b", 30))
        payments.run(instance, "2026-03-01", "2026-03-05")
        assert payments.asked(instance) == []
        payments.arrive(("a", 30), ("a", 125))
        payments.run(instance, "2026-03-06", "2026-03-06")
        (request,) = payments.asked(instance)
        assert request.tags["dagster/asset_partition_range_start"] == "2026-03-02"
        assert request.tags["dagster/asset_partition_range_end"] == "2026-03-04"
        assert payments.asked(instance)[0].run_key == request.run_key
        payments.run(instance, "2026-03-02", "2026-03-04")
        assert payments.asked(instance) == []
    assert late_spans(payments.store.catalog.load_table(payments.plan.schema.table).properties) == []
    days = {n: DAY0 + timedelta(days=n) for n in range(7)}
    assert payments.counts() == {
        ("a", days[1]): 1,
        ("a", days[2]): 2,
        ("a", days[3]): 1,
        ("a", days[4]): 0,
        ("a", days[6]): 1,
        ("b", days[2]): 1,
        ("b", days[4]): 0,
    }


def test_a_tick_opens_only_the_tables_that_have_moved(payments: Payments, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    load = SqlCatalog.load_table

    def counted(catalog: SqlCatalog, name: str) -> Table:
        opened.append(name)
        return load(catalog, name)

    with dg.DagsterInstance.ephemeral() as instance:
        assert payments.asked(instance) == [], "there is no table yet"
        payments.arrive(("a", 1))
        payments.run(instance, "2026-03-01", "2026-03-05")
        monkeypatch.setattr(SqlCatalog, "load_table", counted)
        for _ in range(3):
            assert payments.asked(instance) == []
        assert opened == [payments.plan.schema.table], "once, and then it has not moved"
        payments.arrive(("a", 30))
        payments.run(instance, "2026-03-06", "2026-03-06")
        opened.clear()
        for _ in range(3):
            assert len(payments.asked(instance)) == 1, "as long as partitions are to be computed again"
        assert opened == [payments.plan.schema.table] * 3


def test_one_run_keeps_up_every_table(payments: Payments, stack: Settings) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        payments.arrive(("a", 1))
        for day in (1, 2, 3):
            payments.run(instance, f"2026-03-0{day}", f"2026-03-0{day}")
        result = dg.materialize([maintenance_asset([payments.plan])], resources=RESOURCES, instance=instance)
    assert result.success
    (done,) = result.asset_materializations_for_node(op_name(maintenance_key()))
    (line,) = done.metadata["tables"].records
    assert line.data["table"] == payments.plan.schema.table
    assert done.metadata["orphan files removed"].value == 0
    assert done.metadata["snapshots"].value == done.metadata["snapshots before"].value


def test_streams_have_their_logs_and_dead_letters_kept_up() -> None:
    clicks = StreamSource("clicks", topic="clicks", schema=SCHEMA, event_timestamp="ts")
    group = FeatureGroup(
        "card_clicks",
        entity=Entity("card", join_key="card_id"),
        source=clicks,
        owner="team:payments",
        features=[Feature("card_click_count_30m", agg.count(), window="30m", dtype=INT, default=0)],
    )
    assert [(kept.table, kept.jobs) for kept in kept_tables([build_plan(group)])] == [
        ("features.card_clicks_v1", ("card_clicks@1",)),
        ("events.clicks", ("log of clicks",)),
        ("events.dead_letters", ("log of clicks", "card_clicks@1")),
    ]
