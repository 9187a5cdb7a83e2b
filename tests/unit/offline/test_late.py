"""Late rows of a source (a table in a one-file catalog): the partitions that they touch are found, and no others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiceberg.expressions import EqualTo

from feature_store.compile.reference_events import Row
from feature_store.offline.late import SOURCES
from feature_store.plan.build import build_plan
from tests.unit.offline.late_cases import Shop, event

EVENTS = pa.schema([("user_id", pa.string()), ("amount", pa.float64()), ("ts", pa.timestamp("us", "UTC"))])


class IcebergShop(Shop):
    """The source is an Iceberg table."""

    def __init__(self, folder: Path, window: str) -> None:
        super().__init__(folder, window, table="raw.orders")
        self.catalog.create_namespace("raw")
        self.orders = self.catalog.create_table("raw.orders", EVENTS)

    def arrive(self, *rows: Row) -> None:
        self.rows += rows
        self.orders.append(pa.Table.from_pylist(list(rows), EVENTS))


@pytest.fixture
def shop(tmp_path: Path) -> IcebergShop:
    shop = IcebergShop(tmp_path, "2d")
    shop.arrive(event("a", 1), event("b", 30))
    return shop


def test_a_late_row_touches_the_days_of_its_windows(shop: IcebergShop) -> None:
    for day in range(6):
        shop.run(day, day + 1)
    assert shop.late == []
    shop.arrive(event("a", 30), event("c", 145))
    shop.run(6, 7)
    assert shop.late == [(1, 4)]
    assert shop.wrong() <= {1, 2, 3}
    shop.run(1, 3)
    assert shop.late == [(3, 4)]
    shop.run(3, 4)
    assert shop.late == []
    assert shop.wrong() == set()


def test_rows_of_a_source_that_was_empty_are_late(tmp_path: Path) -> None:
    shop = IcebergShop(tmp_path, "2d")
    assert shop.run(0, 3) == ()
    shop.arrive(event("a", 30), event("b", 80))
    assert shop.run(3, 4) == ()
    assert shop.late == [(1, 3)]
    shop.run(1, 3)
    assert shop.late == []
    assert shop.wrong() == set()


def test_rows_of_the_newest_partition_are_not_late(shop: IcebergShop) -> None:
    shop.run(0, 2)
    shop.arrive(event("a", 50), event("b", 60))
    shop.run(2, 3)
    assert shop.late == []


def test_rows_before_history_begins_touch_only_what_is_there(shop: IcebergShop) -> None:
    shop.run(0, 2)
    shop.arrive(event("z", -30), event("z", -90))
    shop.run(2, 3)
    assert shop.late == [(0, 1)]


def test_a_window_without_end_touches_everything_since(tmp_path: Path) -> None:
    shop = IcebergShop(tmp_path, "all_time")
    shop.arrive(event("a", 1))
    shop.run(0, 5)
    shop.arrive(event("a", 60))
    shop.run(5, 6)
    assert shop.late == [(2, 5)]


def test_an_older_partition_does_not_move_the_cursor(shop: IcebergShop) -> None:
    shop.run(0, 4)
    shop.arrive(event("a", 30))
    shop.run(3, 4)
    assert shop.late == []
    shop.run(4, 5)
    assert shop.late == [(1, 4)]


def test_a_row_that_comes_while_partitions_are_computed_is_found(shop: IcebergShop) -> None:
    shop.run(0, 4)
    with shop.running(4, 5):
        shop.arrive(event("a", 100))
        shop.run(5, 6)
    assert 4 in shop.listed()
    shop.run(4, 5)
    shop.run(6, 7)
    for first, last in shop.late:
        shop.run(first, last)
    assert shop.wrong() == set()


def test_rows_that_went_count_too(shop: IcebergShop) -> None:
    shop.run(0, 4)
    shop.orders.delete(EqualTo("user_id", "b"))
    shop.rows = [row for row in shop.rows if row["user_id"] != "b"]
    shop.run(4, 5)
    assert shop.wrong() <= shop.listed()
    assert shop.wrong()


def test_an_expired_snapshot_is_said(shop: IcebergShop) -> None:
    shop.run(0, 4)
    shop.arrive(event("a", 30))
    shop.orders.maintenance.expire_snapshots().by_id(shop.orders.snapshots()[0].snapshot_id).commit()
    assert shop.run(4, 5) == ("orders",)
    assert shop.late == []
    assert SOURCES in shop.table.properties


def test_a_renamed_source_keeps_its_cursor(shop: IcebergShop) -> None:
    shop.run(0, 4)
    shop.arrive(event("a", 30))
    shop.plan = build_plan(replace(shop.plan.group, source=replace(shop.plan.sources[0], name="purchases")))
    assert shop.run(4, 5) == ()
    assert shop.late == [(1, 4)]


def test_a_source_at_another_place_is_said(shop: IcebergShop) -> None:
    shop.run(0, 4)
    shop.catalog.rename_table("raw.orders", "raw.purchases")
    shop.plan = build_plan(replace(shop.plan.group, source=replace(shop.plan.sources[0], table="raw.purchases")))
    assert shop.run(4, 5) == ("orders",)
    assert shop.run(5, 6) == ()


times = st.integers(-48, 240).map(lambda hours: hours / 1.0)
steps = st.lists(st.one_of(st.just("next"), st.lists(st.tuples(st.sampled_from("abc"), times), min_size=1, max_size=3)))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(steps=steps, window=st.sampled_from(["1d", "3d", "all_time"]))
def test_computing_what_is_listed_makes_everything_right(steps: list[Any], window: str) -> None:
    with TemporaryDirectory() as folder:
        shop = IcebergShop(Path(folder), window)
        shop.arrive(event("a", 1))
        day = 0
        for step in [*steps, "next", "next"]:
            if step == "next":
                shop.run(day, day + 1)
                day += 1
            else:
                shop.arrive(*(event(user, hours) for user, hours in step))
        assert shop.wrong() <= shop.listed()
        for first, last in shop.late:
            shop.run(first, last)
        assert shop.late == []
        assert shop.wrong() == set()
