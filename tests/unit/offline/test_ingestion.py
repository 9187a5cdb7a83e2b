"""Late rows of a source without snapshots: by ingestion times, in whose order rows need not be seen."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store import BatchSource
from feature_store.compile.reference_events import Row
from feature_store.dtypes import to_micros
from feature_store.duration import DAY, HOUR, MINUTE
from feature_store.offline.arrivals import Arrivals, Cursor
from feature_store.offline.ingestion import Ingested, Rows, arrivals
from feature_store.offline.late import SOURCES
from tests.unit.offline.late_cases import START, Shop, event, grouped

NOON = START + 400 * DAY + 12 * HOUR
"""Ingestion times have nothing to do with event times."""


class FilesShop(Shop):
    """The source is files, of which each row has an ingestion time (microseconds)."""

    def __init__(self, folder: Path, window: str) -> None:
        super().__init__(folder, window, path="raw/orders")
        self.ingested: list[int | None] = []

    def arrive(self, ingested: int | None, *rows: Row) -> None:
        self.rows += rows
        self.ingested += [ingested] * len(rows)

    def ingested_since(self, source: BatchSource, since: Cursor | None) -> Arrivals:
        seen = Ingested(**since) if isinstance(since, dict) else None
        return arrivals("", self.grouped(seen), seen)

    def grouped(self, seen: Ingested | None) -> list[Rows]:
        times = [to_micros(row["ts"]) for row in self.rows]
        return grouped(list(zip(times, self.ingested, strict=True)), DAY, seen)


@pytest.fixture
def shop(tmp_path: Path) -> FilesShop:
    """Four days have been computed, of rows that came in at noon."""
    shop = FilesShop(tmp_path, "2d")
    shop.arrive(NOON, event("a", 1), event("b", 30))
    shop.run(0, 4)
    return shop


def test_rows_that_come_in_time_touch_nothing(shop: FilesShop) -> None:
    for day in range(4, 8):
        shop.arrive(NOON + day * MINUTE, event("a", 24 * day + 3))
        shop.run(day, day + 1)
        assert shop.late == []
    shop.run(8, 9)
    assert shop.late == []
    assert shop.wrong() == set()


def test_a_late_row_touches_the_days_of_its_windows(shop: FilesShop) -> None:
    shop.arrive(NOON + DAY, event("a", 30), event("a", 31), event("c", 97))
    shop.run(4, 5)
    assert shop.late == [(1, 4)]
    shop.run(1, 4)
    assert shop.late == []
    assert shop.wrong() == set()


@pytest.mark.parametrize("sooner", [0, 1, HOUR])
def test_a_row_at_or_before_the_cursor_that_was_not_seen_is_found(shop: FilesShop, sooner: int) -> None:
    shop.arrive(NOON - sooner, event("c", 2))
    shop.run(4, 5)
    assert shop.wrong() == {0, 2}
    assert shop.wrong() <= shop.listed()
    shop.run(0, 4)
    shop.run(5, 6)
    assert shop.late == []


def test_a_row_that_went_has_the_recent_ones_looked_at_again(shop: FilesShop) -> None:
    shop.arrive(NOON + MINUTE, event("c", 98))
    shop.run(4, 5)
    del shop.rows[-1], shop.ingested[-1]
    shop.run(5, 6)
    assert shop.late == [(0, 4)]
    assert json.loads(shop.table.properties[SOURCES])[shop.plan.sources[0].location]["until"] == NOON + MINUTE


def test_an_older_partition_does_not_move_the_cursor(shop: FilesShop) -> None:
    before = shop.table.properties[SOURCES]
    shop.arrive(NOON + DAY, event("a", 30))
    shop.run(3, 4)
    assert shop.table.properties[SOURCES] == before
    assert shop.late == []
    shop.run(4, 5)
    assert shop.late == [(1, 4)]


def test_a_row_that_comes_while_partitions_are_computed_is_found(shop: FilesShop) -> None:
    with shop.running(4, 5):
        shop.arrive(NOON + HOUR, event("a", 100))
        shop.run(5, 6)
    shop.run(6, 7)
    assert 4 in shop.listed()
    for first, last in shop.late:
        shop.run(first, last)
    assert shop.wrong() == set()


def test_rows_of_an_empty_source_are_late_too(tmp_path: Path) -> None:
    shop = FilesShop(tmp_path, "2d")
    shop.run(0, 3)
    shop.arrive(NOON, event("a", 1))
    shop.run(3, 4)
    assert shop.late == [(0, 3)]


def test_a_row_without_an_ingestion_time_is_said_once(shop: FilesShop) -> None:
    shop.arrive(None, event("a", 30))
    assert shop.run(4, 5) == ("orders",)
    assert shop.late == []
    assert shop.run(5, 6) == ()


def test_times_of_another_column_cannot_be_told(shop: FilesShop) -> None:
    seen = Ingested("loaded_at", NOON, 2, 0)
    assert arrivals("loaded_at", shop.grouped(seen), seen).complete
    assert not arrivals("", shop.grouped(None), None).complete


hours = st.integers(-48, 240).map(float)
rows = st.lists(st.tuples(st.sampled_from("abc"), hours, st.integers(0, HOUR)), min_size=1, max_size=3)
steps = st.lists(st.tuples(st.sampled_from([0, 1, MINUTE, HOUR, DAY]), st.one_of(st.just("next"), rows)))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(steps=steps, window=st.sampled_from(["1d", "3d", "all_time"]))
def test_computing_what_is_listed_makes_everything_right(steps: list[Any], window: str) -> None:
    with TemporaryDirectory() as folder:
        shop = FilesShop(Path(folder), window)
        day, now = 0, NOON
        for passed, step in [*steps, (0, "next"), (0, "next")]:
            now += passed
            if step == "next":
                shop.run(day, day + 1)
                day += 1
            else:
                for user, at, sooner in step:
                    shop.arrive(now - sooner, event(user, at))
        assert shop.wrong() <= shop.listed()
        for first, last in shop.late:
            shop.run(first, last)
        assert shop.late == []
        assert shop.wrong() == set()
