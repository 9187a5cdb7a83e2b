"""A folder of events, groups over it, and their runs on the real Spark and Iceberg."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from pyiceberg.catalog import Catalog

from feature_store import FLOAT, INT, STRING, TIMESTAMP, BatchSource, Entity, Feature, FeatureGroup, agg
from feature_store.compile.reference import run_reference
from feature_store.compile.reference_events import Row
from feature_store.compile.span import Span
from feature_store.dtypes import to_micros
from feature_store.offline.catalog import open_catalog
from feature_store.offline.materialize import Materialization, materialize_span
from feature_store.offline.standing import standing_rows
from feature_store.plan.build import build_plan
from feature_store.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DAY0 = datetime(2026, 3, 1, tzinfo=UTC)
SCHEMA = {"user_id": STRING, "amount": FLOAT, "ts": TIMESTAMP}


class Shop:
    """A folder of events and the groups over it, on the real stack."""

    def __init__(self, spark: SparkSession, settings: Settings, catalog: Catalog, folder: Path) -> None:
        self.spark, self.settings, self.catalog, self.folder = spark, settings, catalog, folder
        self.rows: list[Row] = []

    def write(self, rows: list[Row]) -> None:
        self.rows = rows
        types = {"user_id": pl.String, "amount": pl.Float64, "ts": pl.Datetime("us", "UTC")}
        pl.DataFrame(rows, schema=types).write_parquet(self.folder / "events.parquet")

    def source(self, **changes: Any) -> BatchSource:
        arguments: dict[str, Any] = {"path": str(self.folder), "event_timestamp": "ts", "schema": SCHEMA}
        return BatchSource("purchases", **(arguments | changes))

    def group(self, name: str, **changes: Any) -> FeatureGroup:
        arguments: dict[str, Any] = {
            "entity": Entity("user", join_key="user_id"),
            "source": self.source(),
            "owner": "team:test",
            "buckets": 2,
            "features": [
                Feature("user_count_3d", agg.count(), window="3d", dtype=INT),
                Feature("user_mean_all_time", agg.mean("amount"), window="all_time", dtype=FLOAT, expect={"max": 100}),
            ],
        }
        return FeatureGroup(name, **(arguments | changes))

    def run(self, group: FeatureGroup, start: datetime, end: datetime, **more: Any) -> Materialization:
        return materialize_span(self.spark, self.settings, self.catalog, build_plan(group), start, end, **more)

    def run_beside(self, group: FeatureGroup, start: datetime, end: datetime) -> Materialization:
        session = self.spark.newSession()
        return materialize_span(session, self.settings, open_catalog(self.settings), build_plan(group), start, end)

    def stored(self, group: FeatureGroup) -> list[Row]:
        table = standing_rows(self.catalog.load_table(build_plan(group).schema.table).scan().to_arrow())
        rows: list[Row] = table.drop_columns(["created_timestamp"]).to_pylist()
        return sorted(rows, key=lambda row: (row["feature_timestamp"], row["user_id"]))

    def expected(self, group: FeatureGroup, start: datetime, end: datetime) -> list[Row]:
        span = Span(to_micros(start), to_micros(end), first=True)
        return run_reference(build_plan(group), {"purchases": self.rows}, span)


def event(user: str | None, hours: float, amount: float | None) -> Row:
    return {"user_id": user, "amount": amount, "ts": DAY0 + timedelta(hours=hours)}


def day(n: int) -> datetime:
    return DAY0 + timedelta(days=n)


SOME_EVENTS = [event("a", -50, 1), event("a", 3, 3), event("b", 30, 2), event("a", 30.5, 5), event("c", 75, 4)]
