"""Groups materialized by Spark into real Iceberg tables: the rows, and what running again leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
import sqlalchemy as sa
from pyiceberg.catalog import Catalog

from feature_store import FLOAT, INT, STRING, TIMESTAMP, BatchSource, Entity, Feature, FeatureGroup, agg
from feature_store.compile.reference import run_reference
from feature_store.compile.reference_events import Row
from feature_store.compile.span import Span
from feature_store.dtypes import to_micros
from feature_store.errors import ConflictError, InputError, QualityError
from feature_store.offline.materialize import Materialization, materialize_span
from feature_store.offline.profile import Profile
from feature_store.offline.tables import ensure_table
from feature_store.plan.build import build_plan
from feature_store.quality.expectations import judge, refuse_failures
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

    def stored(self, group: FeatureGroup) -> list[Row]:
        table = self.catalog.load_table(build_plan(group).schema.table).scan().to_arrow()
        rows: list[Row] = table.drop_columns(["created_timestamp"]).to_pylist()
        return sorted(rows, key=lambda row: (row["feature_timestamp"], row["user_id"]))

    def expected(self, group: FeatureGroup, start: datetime, end: datetime) -> list[Row]:
        span = Span(to_micros(start), to_micros(end), first=True)
        return run_reference(build_plan(group), {"purchases": self.rows}, span)


@pytest.fixture
def shop(spark: SparkSession, stack: Settings, catalog: Catalog, tmp_path: Path) -> Shop:
    shop = Shop(spark, stack, catalog, tmp_path)
    shop.write([event("a", -50, 1), event("a", 3, 3), event("b", 30, 2), event("a", 30.5, 5), event("c", 75, 4)])
    return shop


def event(user: str | None, hours: float, amount: float | None) -> Row:
    return {"user_id": user, "amount": amount, "ts": DAY0 + timedelta(hours=hours)}


def day(n: int) -> datetime:
    return DAY0 + timedelta(days=n)


def test_a_backfill_writes_the_rows_of_the_reference(shop: Shop) -> None:
    group = shop.group("user_backfill")
    done = shop.run(group, day(0), day(7))
    assert shop.stored(group) == shop.expected(group, day(0), day(7))
    assert done.profile.rows == len(shop.stored(group))
    assert done.profile.duplicates == 0
    assert done.inputs[0].rows == 5


def test_day_by_day_is_all_at_once(shop: Shop) -> None:
    once, daily = shop.group("user_once"), shop.group("user_daily")
    shop.run(once, day(0), day(7))
    for n in range(7):
        shop.run(daily, day(n), day(n + 1))
    assert shop.stored(daily) == shop.stored(once)


def test_a_partition_run_again_neither_doubles_nor_loses(shop: Shop) -> None:
    group = shop.group("user_again")
    shop.run(group, day(0), day(5))
    before = shop.stored(group)
    for n in (0, 2):
        shop.run(group, day(n), day(n + 1))
        assert shop.stored(group) == before


def test_a_partition_whose_events_went_away_is_emptied(shop: Shop) -> None:
    group = shop.group("user_emptied")
    shop.run(group, day(0), day(5))
    shop.write([row for row in shop.rows if row["user_id"] != "b"])
    shop.run(group, day(0), day(5))
    assert shop.stored(group) == shop.expected(group, day(0), day(5))
    assert "b" not in {row["user_id"] for row in shop.stored(group)}


def test_hours_of_one_day_are_rewritten_one_by_one(shop: Shop) -> None:
    hourly = [Feature("user_count_2h", agg.count(), window="2h", dtype=INT)]
    group = shop.group("user_hourly", refresh="hourly", features=hourly)
    shop.run(group, day(0), day(2))
    assert shop.stored(group) == shop.expected(group, day(0), day(2))
    shop.write([*shop.rows, event("d", 5.5, 1)])
    shop.run(group, day(0) + timedelta(hours=5), day(0) + timedelta(hours=6))
    got = {(row["user_id"], row["feature_timestamp"]) for row in shop.stored(group)}
    wanted = {(row["user_id"], row["feature_timestamp"]) for row in shop.expected(group, day(0), day(2))}
    assert wanted - got == {("d", day(0) + timedelta(hours=8))}  # its leaving belongs to an hour not run again
    assert got <= wanted
    midnight = [row for row in shop.stored(group) if row["feature_timestamp"] == day(1)]
    shop.run(group, day(1) - timedelta(hours=1), day(1))
    assert [row for row in shop.stored(group) if row["feature_timestamp"] == day(1)] == midnight


def test_two_runs_at_once_never_lose_each_others_rows(shop: Shop) -> None:
    hourly = [Feature("user_count_2h", agg.count(), window="2h", dtype=INT)]
    group = shop.group("user_raced", refresh="hourly", features=hourly)
    shop.run(group, day(0), day(1))
    hour = timedelta(hours=1)

    def meanwhile(start: datetime) -> Callable[[Profile], None]:
        return lambda profile: void(shop.run(group, start, start + hour))

    shop.write([*shop.rows, event("e", 3.5, 1), event("f", 30.2, 1)])
    with pytest.raises(ConflictError, match="another run has written the same days"):
        shop.run(group, day(0) + 3 * hour, day(0) + 4 * hour, audit=meanwhile(day(0) + 5 * hour))
    shop.run(group, day(0) + 3 * hour, day(0) + 4 * hour, audit=meanwhile(day(1) + 6 * hour))
    users = {row["user_id"] for row in shop.stored(group)}
    assert {"a", "e", "f"} <= users


def void(_: object) -> None:
    """Makes a callback of a call whose result nobody wants."""


def test_an_earlier_partition_moves_the_beginning_of_history(shop: Shop) -> None:
    group = shop.group("user_earlier")
    shop.run(group, day(2), day(5))
    assert {(row["user_id"], row["feature_timestamp"]) for row in shop.stored(group)} >= {("a", day(3)), ("b", day(3))}
    shop.run(group, day(0), day(5))
    assert shop.stored(group) == shop.expected(group, day(0), day(5))


def test_a_failed_audit_writes_nothing(shop: Shop) -> None:
    group = shop.group("user_audited")
    shop.run(group, day(0), day(2))
    before = shop.stored(group)
    plan = build_plan(group)
    shop.write([*shop.rows, event("a", 40, 1e6)])

    def audit(profile: Profile) -> None:
        refuse_failures(plan.schema, judge(plan.schema, profile))

    with pytest.raises(QualityError, match=r"user_mean_all_time maximum: expected x <= 100, found 2500"):
        shop.run(group, day(0), day(4), audit=audit)
    assert shop.stored(group) == before


def test_oddities_of_a_source_are_counted(shop: Shop) -> None:
    group = shop.group("user_odd")
    shop.write([event("a", 1, 1), event(None, 2, 2), {**event("b", 3, 3), "ts": None}, event("c", 4, float("nan"))])
    counts = shop.run(group, day(0), day(1)).inputs[0]
    assert (counts.rows, counts.null_keys, counts.null_timestamps, counts.non_finite) == (4, 1, 1, 1)
    assert [row["user_id"] for row in shop.stored(group)] == ["a", "c"]


def test_a_new_feature_is_a_new_column(shop: Shop) -> None:
    group = shop.group("user_grows")
    shop.run(group, day(0), day(1))
    more = shop.group(
        "user_grows", features=[*group.features, Feature("user_sum_3d", agg.sum("amount"), window="3d", dtype=FLOAT)]
    )
    shop.run(more, day(1), day(3))
    rows = shop.stored(more)
    assert rows[0]["user_sum_3d"] is None
    assert rows[-1]["user_sum_3d"] is not None
    changed = shop.group("user_grows", features=[Feature("user_count_3d", agg.sum("amount"), window="3d", dtype=FLOAT)])
    with pytest.raises(
        ConflictError, match=r"column 'user_count_3d' of features\.user_grows_v1 is .* -> give the group version 2"
    ):
        ensure_table(shop.catalog, build_plan(changed).schema)


def test_postgres_and_csv_are_sources_too(shop: Shop, stack: Settings) -> None:
    engine = sa.create_engine(stack.database_url("shop"))
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE IF EXISTS purchases"))
        connection.execute(sa.text("CREATE TABLE purchases (user_id text, amount numeric(10, 2), ts timestamptz)"))
        for row in shop.rows:
            connection.execute(sa.text("INSERT INTO purchases VALUES (:user_id, :amount, :ts)"), row)
    csv = shop.folder / "purchases.csv"
    pl.DataFrame(shop.rows).with_columns(pl.col("ts").dt.strftime("%Y-%m-%dT%H:%M:%S%.6f%:z")).write_csv(csv)
    places = {"user_jdbc": {"path": None, "jdbc": "shop.public.purchases"}, "user_csv": {"path": str(csv)}}
    for name, place in places.items():
        group = shop.group(name, source=shop.source(**place))
        shop.run(group, day(0), day(4))
        assert shop.stored(group) == shop.expected(group, day(0), day(4))


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        (
            "ts",
            pl.Series([DAY0.replace(tzinfo=None)], dtype=pl.Datetime("us")),
            "column 'ts': the timestamps have no time zone",
        ),
        ("amount", pl.Series(["much"]), "column 'amount': the type is string, the definition says FLOAT"),
        ("user_id", None, "column 'user_id': .* has no such column"),
    ],
)
def test_a_source_that_does_not_fit_names_the_column(
    shop: Shop, column: str, values: pl.Series | None, message: str
) -> None:
    frame = pl.read_parquet(shop.folder / "events.parquet").head(1)
    frame = frame.drop(column) if values is None else frame.with_columns(values.alias(column))
    frame.write_parquet(shop.folder / "events.parquet")
    with pytest.raises(InputError, match=message):
        shop.run(shop.group("user_unfit"), day(0), day(1))


def test_a_naive_time_in_text_fails_the_run(shop: Shop) -> None:
    csv = shop.folder / "naive.csv"
    csv.write_text("user_id,amount,ts\na,1,2026-03-01T01:00:00\n")
    with pytest.raises(Exception, match="no time zone in 2026-03-01T01:00:00"):
        shop.run(shop.group("user_naive", source=shop.source(path=str(csv))), day(0), day(1))


def test_a_missing_source_says_where_it_looked(shop: Shop) -> None:
    with pytest.raises(InputError, match=r"source purchases: cannot read table raw.nowhere"):
        shop.run(shop.group("user_nowhere", source=shop.source(path=None, table="raw.nowhere")), day(0), day(1))
