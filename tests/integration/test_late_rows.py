"""Late rows of files and Postgres tables on the real Spark: found, noted, computed again, and nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
import sqlalchemy as sa
from pyiceberg.catalog import Catalog

from feature_store import FLOAT, STRING, TIMESTAMP, BatchSource, Entity, Feature, FeatureGroup, agg
from feature_store.compile.reference import run_reference
from feature_store.compile.reference_events import Row
from feature_store.compile.span import Span
from feature_store.dtypes import to_micros
from feature_store.duration import DAY, HOUR
from feature_store.errors import InputError
from feature_store.offline.ingestion import Ingested, arrivals, ingested_since
from feature_store.offline.late import SOURCES, late_spans
from feature_store.offline.materialize import Materialization, materialize_span
from feature_store.offline.standing import standing_rows
from feature_store.plan.build import build_plan
from feature_store.settings import Settings
from tests.unit.offline.late_cases import grouped

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DAY0 = datetime(2026, 3, 1, tzinfo=UTC)
CAME = datetime.now(UTC).replace(microsecond=123_000) - timedelta(hours=9)
"""When the first rows come in; files know milliseconds."""
TYPES = {"user_id": pl.String, "amount": pl.Float64, "ts": pl.Datetime("us", "UTC")}
SCHEMA = {"user_id": STRING, "amount": FLOAT, "ts": TIMESTAMP}
COLUMN = {"schema": SCHEMA | {"loaded_at": TIMESTAMP}, "ingestion_timestamp": "loaded_at"}


class Shop:
    """A group over events that come into a place of some kind."""

    def __init__(self, kind: str, spark: SparkSession, settings: Settings, catalog: Catalog, folder: Path) -> None:
        self.spark, self.settings, self.catalog, self.folder = spark, settings, catalog, folder
        self.place, self.rows, self.writes = kind.split()[0], list[Row](), 0
        self.by_column = kind != self.place
        source: dict[str, Any] = {"schema": SCHEMA} | (COLUMN if self.by_column else {})
        if self.place == "postgres":
            source["jdbc"] = "shop.public.late_orders"
            self.engine = sa.create_engine(settings.database_url("shop"))
            with self.engine.begin() as connection:
                connection.execute(sa.text("DROP TABLE IF EXISTS late_orders"))
                columns = "user_id text, amount double precision, ts timestamptz, loaded_at timestamptz"
                connection.execute(sa.text(f"CREATE TABLE late_orders ({columns})"))
        else:
            source["path"] = str(folder / f"*.{self.place}")
        self.plan = build_plan(
            FeatureGroup(
                f"late_{kind.replace(' ', '_')}",
                entity=Entity("user", join_key="user_id"),
                source=BatchSource("orders", event_timestamp="ts", **source),
                owner="team:test",
                buckets=2,
                features=[Feature("user_sum_2d", agg.sum("amount"), window="2d", dtype=FLOAT)],
            )
        )

    def arrive(self, came: datetime | None, *events: tuple[str, float]) -> None:
        """Events of users, in hours from the first day, come in."""
        rows = [{"user_id": user, "amount": 1.0, "ts": DAY0 + timedelta(hours=hours)} for user, hours in events]
        self.rows += rows
        if self.place == "postgres":
            with self.engine.begin() as connection:
                insert = sa.text("INSERT INTO late_orders VALUES (:user_id, :amount, :ts, :loaded_at)")
                connection.execute(insert, [row | {"loaded_at": came} for row in rows])
            return
        self.writes += 1
        file = self.folder / f"{self.writes}.{self.place}"
        frame = pl.DataFrame(rows, schema=TYPES)
        if self.by_column:
            frame = frame.with_columns(pl.lit(came, pl.Datetime("us", "UTC")).alias("loaded_at"))
        if self.place == "parquet":
            frame.write_parquet(file)
        else:
            frame.write_csv(file, datetime_format="%Y-%m-%dT%H:%M:%S%.6f%:z")
        if came is not None:
            os.utime(file, (came.timestamp(), came.timestamp()))

    def run(self, first: int, last: int) -> Materialization:
        start, end = (DAY0 + timedelta(days=n) for n in (first, last))
        return materialize_span(self.spark, self.settings, self.catalog, self.plan, start, end)

    @property
    def properties(self) -> dict[str, str]:
        return self.catalog.load_table(self.plan.schema.table).properties

    @property
    def late(self) -> list[tuple[int, int]]:
        return list(days(late_spans(self.properties)))

    def stored(self) -> list[Row]:
        table = standing_rows(self.catalog.load_table(self.plan.schema.table).scan().to_arrow())
        rows: list[Row] = table.drop_columns(["created_timestamp"]).to_pylist()
        return sorted(rows, key=lambda row: (row["feature_timestamp"], row["user_id"]))

    def expected(self, last: int) -> list[Row]:
        span = Span(to_micros(DAY0), to_micros(DAY0 + timedelta(days=last)), first=True)
        return run_reference(self.plan, {"orders": self.rows}, span)


def days(spans: Iterable[tuple[int, int]]) -> Iterable[tuple[int, int]]:
    return (((after - to_micros(DAY0)) // DAY, (until - to_micros(DAY0)) // DAY) for after, until in spans)


def later(hours: float) -> datetime:
    return CAME + timedelta(hours=hours)


@pytest.fixture
def shop(
    request: pytest.FixtureRequest, spark: SparkSession, stack: Settings, catalog: Catalog, tmp_path: Path
) -> Shop:
    return Shop(request.param, spark, stack, catalog, tmp_path)


@pytest.mark.parametrize("shop", ["parquet", "csv", "csv by column", "postgres by column"], indirect=True)
def test_late_rows_are_found_and_computed_again(shop: Shop) -> None:
    shop.arrive(later(0), ("a", 1), ("b", 30), ("b", 31))
    shop.run(0, 4)
    shop.arrive(later(0.1), ("a", 97))
    assert shop.run(4, 5).late == ()
    cursor = shop.properties[SOURCES]

    shop.arrive(later(3), ("a", 30), ("a", 125))
    assert shop.run(3, 4).late == ()
    assert shop.properties[SOURCES] == cursor
    assert list(days(shop.run(5, 6).late)) == [(1, 4)]
    assert shop.stored() != shop.expected(6)
    shop.run(1, 4)
    assert shop.late == []
    assert shop.stored() == shop.expected(6)

    shop.arrive(later(3), ("c", 2))  # as late as what has been seen
    assert list(days(shop.run(6, 7).late)) == [(0, 4), (5, 6)]
    shop.run(0, 4)
    shop.run(5, 6)
    assert shop.run(7, 8).late == ()
    assert shop.late == []
    assert shop.stored() == shop.expected(8)


@pytest.mark.parametrize("shop", ["parquet by column"], indirect=True)
def test_rows_with_no_ingestion_time_or_one_to_come_are_not_late_yet(shop: Shop) -> None:
    shop.arrive(later(0), ("a", 1))
    shop.run(0, 2)
    shop.arrive(None, ("a", 2))
    shop.arrive(datetime.now(UTC) + timedelta(days=1), ("a", 3))
    done = shop.run(2, 3)
    assert (done.late, done.unknown) == ((), ("orders",))
    seen = json.loads(shop.properties[SOURCES])[shop.plan.sources[0].location]
    assert seen == {"by": "loaded_at", "until": to_micros(CAME), "recent": 1, "undated": 1}


@pytest.mark.parametrize("shop", ["postgres unzoned"], indirect=True)
def test_an_ingestion_time_without_a_zone_is_refused(shop: Shop) -> None:
    with shop.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE late_orders ALTER loaded_at TYPE timestamp"))
    with pytest.raises(InputError, match="column 'loaded_at': the timestamps have no time zone"):
        shop.run(0, 1)


def test_spark_counts_the_rows_of_each_partition_and_hour(spark: SparkSession, stack: Settings, tmp_path: Path) -> None:
    pick = Random(1)
    came = to_micros(CAME) // HOUR * HOUR
    near = [n * HOUR + edge for n in range(-1, 3) for edge in (-1, 0, 1)]
    times = [
        (
            pick.choice([None, *(edge + n * HOUR for n in (-30, -24, 0, 5, 24) for edge in (-1, 0, 1))]),
            pick.choice([None, *(came + time for time in near)]),
        )
        for _ in range(500)
    ]
    instants = {name: pl.Series([t[n] for t in times], dtype=pl.Int64) for n, name in enumerate(("ts", "loaded_at"))}
    columns = {name: values.cast(pl.Datetime("us", "UTC")) for name, values in instants.items()}
    pl.DataFrame({"user_id": "a", "amount": 1.0, **columns}).write_parquet(tmp_path / "events.parquet")
    source = BatchSource("orders", path=str(tmp_path), event_timestamp="ts", **COLUMN)
    for seen in (None, Ingested("loaded_at", came + HOUR, 0, 0), Ingested("loaded_at", came + 1, 0, 0)):
        for size in (HOUR, DAY):
            arrived = ingested_since(spark, stack, size, source, None if seen is None else asdict(seen))
            expected = arrivals("loaded_at", grouped(times, size, seen), seen)
            assert (arrived.cursor, arrived.complete) == (expected.cursor, expected.complete)
            assert sorted(arrived.times) == sorted(expected.times)
            assert len(arrived.times) > 0 or seen is None
