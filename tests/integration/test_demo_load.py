"""The raw data of the demo on the real stack: all there, typed, loaded once, whole again after any accident."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pyiceberg.catalog.sql import SqlCatalog
from sqlalchemy import create_engine, text
from sqlalchemy.exc import InternalError

from demo.load import LoadReport, load_shop, read_shop_anchor
from demo.shop import Shop, build_shop
from feature_store.errors import StackError

if TYPE_CHECKING:
    from feature_store.settings import Settings

TODAY = date(2026, 3, 12)
DATABASES = ("shop", "iceberg")


@dataclass(frozen=True)
class OwnPlaces:
    """The real server, with databases and folders of these tests' own: other tests keep the shop they loaded."""

    stack: Settings
    home: Path
    warehouse: str
    suffix: str = "_of_load_tests"

    def database_url(self, name: str, driver: str = "postgresql+psycopg2") -> str:
        return self.stack.database_url(name + self.suffix, driver)


@pytest.fixture(scope="module")
def places(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnPlaces]:
    home = tmp_path_factory.mktemp("home")
    places = OwnPlaces(stack, home, f"file://{home}/warehouse")
    run_outside(stack, *[f"CREATE DATABASE {name}{places.suffix}" for name in DATABASES])
    yield places
    run_outside(stack, *[f"DROP DATABASE {name}{places.suffix} WITH (FORCE)" for name in DATABASES])


@pytest.fixture(scope="module")
def shop() -> Shop:
    return build_shop(TODAY)


@pytest.fixture
def loaded(places: OwnPlaces) -> LoadReport:
    """A complete load of TODAY, whatever the test before left behind."""
    run(places, "DROP TABLE IF EXISTS shop_load")
    return load_shop(places, TODAY)


def run_outside(stack: Settings, *statements: str) -> None:
    engine = create_engine(stack.database_url("shop"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def run(places: OwnPlaces, statement: str) -> list[tuple[object, ...]]:
    engine = create_engine(places.database_url("shop"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        result = connection.execute(text(statement))
        rows = [tuple(row) for row in result] if result.returns_rows else []
    engine.dispose()
    return rows


def read_order_events(places: OwnPlaces) -> pl.DataFrame:
    with SqlCatalog("fs", uri=places.database_url("iceberg"), warehouse=places.warehouse) as catalog:
        rows = catalog.load_table("raw.order_events").scan().to_arrow()
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    return frame.sort("event_ts", "order_id", "status")


def read_files(places: OwnPlaces, table: str) -> pl.DataFrame:
    return pl.read_parquet(places.home / "raw" / table / "*.parquet")


def assert_all_there(places: OwnPlaces, shop: Shop) -> None:
    """Every table holds the rows of the shop, each once."""
    assert_frame_equal(read_order_events(places), shop.order_events)
    assert_frame_equal(read_files(places, "browsing"), shop.browsing)
    assert_frame_equal(read_files(places, "reviews"), shop.reviews)
    users = run(places, "SELECT user_id, signed_up_at, country FROM users ORDER BY user_id")
    products = run(places, "SELECT product_id, title, category, price, listed_at FROM products ORDER BY product_id")
    assert users == shop.users.rows()
    assert products == shop.products.rows()
    assert read_shop_anchor(places) == shop.anchor


def test_a_load_puts_every_row_in_place(places: OwnPlaces, shop: Shop) -> None:
    assert read_shop_anchor(places) is None
    report = load_shop(places, TODAY)
    assert not report.skipped
    assert report.anchor == TODAY
    assert report.seconds > 0
    assert report.rows == {
        "users": 23_570,
        "products": 1_200,
        "order_events": shop.order_events.height,
        "browsing": shop.browsing.height,
        "reviews": shop.reviews.height,
    }
    assert_all_there(places, shop)


def test_columns_are_typed(places: OwnPlaces, loaded: LoadReport) -> None:
    types = run(
        places,
        "SELECT column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name IN ('users', 'products') ORDER BY table_name, ordinal_position",
    )
    assert types == [
        ("product_id", "text"),
        ("title", "text"),
        ("category", "text"),
        ("price", "double precision"),
        ("listed_at", "timestamp with time zone"),
        ("user_id", "text"),
        ("signed_up_at", "timestamp with time zone"),
        ("country", "text"),
    ]
    with SqlCatalog("fs", uri=places.database_url("iceberg"), warehouse=places.warehouse) as catalog:
        table = catalog.load_table("raw.order_events")
    assert str(table.schema().find_type("event_ts")) == "timestamptz"
    assert [str(field) for field in table.spec().fields] == ["1000: event_ts_month: month(7)"]
    for name in ("browsing", "reviews"):
        assert pl.read_parquet_schema(next((places.home / "raw" / name).iterdir()))["event_ts"] == pl.Datetime(
            "us", "UTC"
        )


def test_a_second_run_skips_and_history_stays_on_its_day(places: OwnPlaces, loaded: LoadReport) -> None:
    files = sorted((places.home / "raw").rglob("*.parquet"))
    times = [file.stat().st_mtime_ns for file in files]
    again = load_shop(places, TODAY + timedelta(days=30))
    assert again.skipped
    assert (again.anchor, again.rows) == (TODAY, loaded.rows)
    assert [file.stat().st_mtime_ns for file in files] == times


def test_a_load_that_broke_off_is_redone_from_scratch(places: OwnPlaces, loaded: LoadReport, shop: Shop) -> None:
    shutil.rmtree(places.home / "raw" / "reviews")
    run(places, "CREATE VIEW reader AS SELECT * FROM users")  # the last step cannot drop what somebody reads
    try:
        with pytest.raises(InternalError, match="depend"):
            load_shop(places, TODAY + timedelta(days=7))
        assert read_shop_anchor(places) is None
    finally:
        run(places, "DROP VIEW reader")
    leftover = places.home / "raw" / ".browsing.partial"
    leftover.mkdir()
    (leftover / "part-0009.parquet").write_bytes(b"half a file")

    report = load_shop(places, TODAY)
    assert not report.skipped
    assert_all_there(places, shop)


@pytest.mark.parametrize("lost", ["raw/browsing/part-0001.parquet", "raw/reviews", "warehouse"])
def test_lost_files_are_noticed(places: OwnPlaces, loaded: LoadReport, shop: Shop, lost: str) -> None:
    path = places.home / lost
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    assert not load_shop(places, TODAY).skipped
    assert_all_there(places, shop)


def test_a_file_cut_short_is_noticed(places: OwnPlaces, loaded: LoadReport, shop: Shop) -> None:
    file = places.home / "raw" / "browsing" / "part-0000.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    assert not load_shop(places, TODAY).skipped
    assert_all_there(places, shop)


@pytest.mark.parametrize(
    "change", ["UPDATE shop_load SET data_version = 0", "DROP TABLE users", "DELETE FROM products"]
)
def test_a_load_of_another_version_or_with_lost_rows_is_replaced(
    places: OwnPlaces, loaded: LoadReport, shop: Shop, change: str
) -> None:
    run(places, change)
    assert not load_shop(places, TODAY).skipped
    assert_all_there(places, shop)


def test_of_two_loaders_one_waits_and_skips(places: OwnPlaces, shop: Shop) -> None:
    run(places, "DROP TABLE IF EXISTS shop_load")
    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(lambda _: load_shop(places, TODAY), range(2)))
    assert sorted(report.skipped for report in reports) == [False, True]
    assert_all_there(places, shop)


def test_a_missing_database_is_an_error_with_a_remedy(places: OwnPlaces) -> None:
    nowhere = replace(places, suffix="_that_nobody_made")
    with pytest.raises(StackError, match=r"shop_that_nobody_made.*does not exist -> run ./fs up"):
        load_shop(nowhere, TODAY)
    with pytest.raises(StackError, match="does not exist"):
        read_shop_anchor(nowhere)
