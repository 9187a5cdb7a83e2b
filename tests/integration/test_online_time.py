"""Rows that are not available yet or have expired, on their way from the offline table into Redis."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pyiceberg.catalog import Catalog
from redis import Redis

from feature_store.dtypes import from_micros
from feature_store.duration import DAY, HOUR
from feature_store.online.materialize import materialize
from feature_store.online.reader import OnlineReader
from tests.integration.online_tables import AHEAD, START, TODAY, Row, naive, new_group, online, write_day


@pytest.mark.parametrize("late", [-1, 0, 1])
def test_rows_wait_for_their_availability(catalog: Catalog, redis: Redis, reader: OnlineReader, late: int) -> None:
    group = new_group(availability_delay=2 * HOUR)
    write_day(catalog, group, START, [Row(0, START, 1, 1), Row(1, START, 1, 1)])
    write_day(catalog, group, START + DAY, [Row(0, START + DAY, 1, 2)])
    available_at = START + DAY + 2 * HOUR
    report = materialize(catalog, redis, group, now=from_micros(available_at - HOUR))
    assert (report.written, report.held, report.newest) == (2, 1, from_micros(START))
    report = materialize(catalog, redis, group, now=from_micros(available_at + late))
    assert (report.full, report.held) == (False, 1 if late < 0 else 0)
    assert online(reader, group, available_at + late) == {0: 1 if late < 0 else 2, 1: 1}
    report = materialize(catalog, redis, group, now=from_micros(available_at + HOUR))
    assert online(reader, group, available_at + HOUR) == {0: 2, 1: 1}


def test_held_rows_survive_new_snapshots_and_old_clocks(catalog: Catalog, redis: Redis, reader: OnlineReader) -> None:
    group = new_group(availability_delay=HOUR)
    write_day(catalog, group, START, [Row(0, START, 1, 1)])
    assert materialize(catalog, redis, group, now=from_micros(START + HOUR - 1)).held == 1
    write_day(catalog, group, START + DAY, [Row(1, START + DAY, 1, 2)])
    assert materialize(catalog, redis, group, now=from_micros(START)).held == 2
    report = materialize(catalog, redis, group, now=from_micros(START + HOUR))
    assert (report.full, report.written, report.held) == (False, 1, 1)
    report = materialize(catalog, redis, group, now=from_micros(START + 3 * DAY))
    assert (report.full, report.held) == (False, 0)
    assert online(reader, group, TODAY) == {0: 1, 1: 2}


@pytest.mark.parametrize("late", [-1, 0, 1])
def test_rows_past_their_ttl_are_counted_and_not_served(
    catalog: Catalog, redis: Redis, reader: OnlineReader, late: int
) -> None:
    group = new_group(ttl=4 * DAY)
    write_day(catalog, group, START, [Row(0, START, 1, 1)])
    write_day(catalog, group, START + DAY, [Row(1, START + DAY, 1, 2)])
    now = START + 4 * DAY + late
    report = materialize(catalog, redis, group, now=from_micros(now))
    assert (report.entities, report.written, report.expired) == ((2, 1, 1) if late > 0 else (2, 2, 0))
    assert online(reader, group, now) == ({1: 2} if late > 0 else {0: 1, 1: 2})


@pytest.mark.parametrize("change", [{"ttl": 2 * DAY}, {"availability_delay": 50 * HOUR}, {"ttl": 30 * DAY}])
def test_a_changed_rule_writes_every_row_again(
    catalog: Catalog, redis: Redis, reader: OnlineReader, change: Any
) -> None:
    group = new_group(ttl=10 * DAY)
    now = AHEAD + 3 * DAY
    rows = [Row(0, AHEAD, 1, 1), Row(1, AHEAD + DAY, 1, 2)]
    write_day(catalog, group, AHEAD, rows[:1])
    write_day(catalog, group, AHEAD + DAY, rows[1:])
    materialize(catalog, redis, group, now=from_micros(now))
    changed = replace(group, **change)
    report = materialize(catalog, redis, changed, now=from_micros(now))
    assert report.full
    if "ttl" in change:
        assert online(reader, changed, now) == naive(changed, rows, now)
