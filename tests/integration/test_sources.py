"""Sources as Spark reads them: files, Postgres, what does not fit its definition, and what is counted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
import sqlalchemy as sa
from pyiceberg.catalog import Catalog

from feature_store import INT, TIMESTAMP, BatchSource, Feature, agg
from feature_store.dtypes import to_micros
from feature_store.errors import InputError
from feature_store.offline.sources import open_source
from feature_store.settings import Settings
from tests.integration.offline_setting import DAY0, SOME_EVENTS, Shop, day, event

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture
def shop(spark: SparkSession, stack: Settings, catalog: Catalog, tmp_path: Path) -> Shop:
    shop = Shop(spark, stack, catalog, tmp_path)
    shop.write(SOME_EVENTS)
    return shop


def test_oddities_of_a_source_are_counted(shop: Shop) -> None:
    group = shop.group("user_odd")
    shop.write([event("a", 1, 1), event(None, 2, 2), {**event("b", 3, 3), "ts": None}, event("c", 4, float("nan"))])
    counts = shop.run(group, day(0), day(1)).inputs[0]
    assert (counts.rows, counts.null_keys, counts.null_timestamps, counts.non_finite) == (4, 1, 1, 1)
    assert [row["user_id"] for row in shop.stored(group)] == ["a", "c"]


def test_the_age_of_a_source_is_that_of_its_newest_row(shop: Shop) -> None:
    group = shop.group("user_age", features=[Feature("user_count_1d", agg.count(), window="1d", dtype=INT)])
    assert [shop.run(group, day(n), day(n + 1)).inputs[0].age for n in (1, 3, 5)] == [
        17.5 * 3600,
        21 * 3600,
        69 * 3600,  # older than all that the windows look at
    ]
    shop.write([])
    assert shop.run(group, day(1), day(2)).inputs[0].age is None


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


def test_names_of_tables_are_quoted(shop: Shop, stack: Settings, catalog: Catalog) -> None:
    engine = sa.create_engine(stack.database_url("shop"))
    with engine.begin() as connection:
        connection.execute(sa.text('DROP SCHEMA IF EXISTS "My-Shop" CASCADE; CREATE SCHEMA "My-Shop"'))
        connection.execute(
            sa.text('CREATE TABLE "My-Shop"."Order items" (user_id text, amount float8, ts timestamptz)')
        )
        for row in shop.rows:
            connection.execute(sa.text('INSERT INTO "My-Shop"."Order items" VALUES (:user_id, :amount, :ts)'), row)
    rows = pl.read_parquet(shop.folder / "events.parquet").to_arrow()
    catalog.create_namespace_if_not_exists("raw")
    catalog.create_table_if_not_exists("raw.my-orders 2", rows.schema).overwrite(rows)
    for name, place in {
        "user_pg": {"jdbc": "shop.My-Shop.Order items"},
        "user_ice": {"table": "raw.my-orders 2"},
    }.items():
        group = shop.group(name, source=shop.source(path=None, **place))
        shop.run(group, day(0), day(4))
        assert shop.stored(group) == shop.expected(group, day(0), day(4))


def test_a_name_never_ends_the_statement_that_it_stands_in(shop: Shop, stack: Settings) -> None:
    """Plans refuse such names; even where one came through, it would be no more than the name of nothing."""
    engine = sa.create_engine(stack.database_url("shop"))
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE IF NOT EXISTS victim (ts timestamptz)"))
    attack = 'victim"; DROP TABLE victim; --'
    places = [{"jdbc": f"shop.public.{attack}"}, {"jdbc": "shop?user=x.public.victim"}, {"table": "raw.a` b"}]
    for place in places:
        source = BatchSource("attack", event_timestamp="ts", schema={"ts": TIMESTAMP}, **place)
        with pytest.raises(InputError, match="cannot read"):
            open_source(shop.spark, stack, source, (), None, to_micros(day(1)))
    assert sa.inspect(engine).has_table("victim")


def test_a_column_of_text_may_have_any_name(shop: Shop, stack: Settings) -> None:
    csv, name = shop.folder / "quotes.csv", "time's \\"
    source = BatchSource("odd", path=str(csv), event_timestamp=name, schema={name: TIMESTAMP})
    csv.write_text(f"{name}\n2026-03-01T01:00:00Z\n")
    assert open_source(shop.spark, stack, source, (), None, to_micros(day(99))).rows == 1
    csv.write_text(f"{name}\n2026-03-01T01:00:00\n")
    with pytest.raises(Exception, match="no time zone in 2026-03-01T01:00:00"):
        open_source(shop.spark, stack, source, (), None, to_micros(day(99)))


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
