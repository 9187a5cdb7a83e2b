"""Rows that are not available yet or have expired, on their way from the offline table into Redis."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pyiceberg.catalog import Catalog
from redis import Redis

from feature_store.compile.span import Span
from feature_store.dtypes import from_micros
from feature_store.duration import DAY, HOUR
from feature_store.offline.computed import note_computed
from feature_store.online.materialize import materialize
from feature_store.online.progress import LastUpdated, last_updated
from feature_store.online.reader import OnlineReader
from feature_store.online.vectors import Status
from feature_store.plan.schema import ViewedSchema, ViewSchema
from tests.integration.online_tables import AHEAD, START, TODAY, Row, forget, naive, new_group, online, write_day


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


def test_writing_old_rows_again_does_not_make_a_group_fresh(
    catalog: Catalog, redis: Redis, reader: OnlineReader
) -> None:
    group = new_group(freshness=26 * HOUR)
    table = write_day(catalog, group, START, [Row(0, START + HOUR, START + DAY, 1)])
    view = ViewSchema("v", 1, (ViewedSchema(group),))

    def is_stale(now: int, **options: bool) -> bool:
        materialize(catalog, redis, group, now=from_micros(now), **options)
        return reader.read(view, [{"user_id": 0}], from_micros(now)).stale[group.id]

    assert is_stale(START + 27 * HOUR) is False  # nothing is known but its newest row
    assert is_stale(START + 27 * HOUR + 1) is True
    days = {"first": START, "after a hole": START + 2 * DAY, "the hole": START + DAY}
    until = {"first": START + DAY, "after a hole": START + DAY, "the hole": START + 3 * DAY}
    for name, day in days.items():
        with table.transaction() as transaction:
            note_computed(transaction, Span(day, day + DAY))
        for full in (False, True):
            assert is_stale(until[name] + 26 * HOUR, full=full) is False, name
            assert is_stale(until[name] + 26 * HOUR + 1, full=full) is True, name
    forget(redis, group)
    assert is_stale(START + 9 * DAY, full=True) is True


def test_a_group_is_complete_up_to_what_is_available(catalog: Catalog, redis: Redis) -> None:
    group = new_group(availability_delay=2 * HOUR)
    table = write_day(catalog, group, START, [Row(0, START + HOUR, START + DAY, 1)])
    with table.transaction() as transaction:
        note_computed(transaction, Span(START, START + DAY))
    for now, complete_at in ((DAY, 22 * HOUR), (DAY + 3 * HOUR, DAY), (DAY - HOUR, DAY)):
        materialize(catalog, redis, group, now=from_micros(START + now))
        assert last_updated(redis, group) == LastUpdated(START + complete_at, START + HOUR)


@pytest.mark.parametrize(("after_creation", "status"), [(0, Status.EXPIRED), (1, Status.NOT_FOUND)])
def test_rows_past_their_ttl_when_they_become_known_are_told_as_expired(
    catalog: Catalog, redis: Redis, reader: OnlineReader, after_creation: int, status: Status
) -> None:
    """For a grace after they became known, whenever they are materialized."""
    group = new_group(ttl=HOUR)
    created = AHEAD + 20 * HOUR
    write_day(catalog, group, AHEAD, [Row(0, AHEAD, created, 1)])
    view = ViewSchema("v", 1, (ViewedSchema(group),))
    now = created + HOUR + after_creation
    for full in (False, True):
        materialize(catalog, redis, group, now=from_micros(now), full=full)
        assert reader.read(view, [{"user_id": 0}], from_micros(now)).statuses == [{group.id: status}]


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
