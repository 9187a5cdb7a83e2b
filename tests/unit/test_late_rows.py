"""The sensor of late rows: which partitions it asks for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from feature_store import INT, STRING, TIMESTAMP, BatchSource, Entity, Feature, FeatureGroup, agg
from feature_store.dtypes import to_micros
from feature_store.plan.build import build_plan
from feature_store.plan.nodes import GroupPlan
from sensors.late_rows import late_row_sensors, stretches

DAY0 = datetime(2026, 3, 1, tzinfo=UTC)


def plan(refresh: str) -> GroupPlan:
    schema = {"user_id": STRING, "ts": TIMESTAMP}
    source = BatchSource("orders", event_timestamp="ts", schema=schema, table="raw.orders")
    feature = Feature("user_n_2d", agg.count(), window="2d", dtype=INT)
    user = Entity("user", join_key="user_id")
    group = FeatureGroup(
        "late", entity=user, source=source, owner="team:x", refresh=refresh, start="2026-03-01", features=[feature]
    )
    return build_plan(group)


def bounds(first: timedelta, last: timedelta) -> tuple[int, int]:
    return to_micros(DAY0 + first), to_micros(DAY0 + last)


def test_neighbours_are_asked_for_together_and_holes_are_not() -> None:
    days = timedelta(days=1)
    computed = {f"2026-03-0{n}" for n in (1, 2, 3, 5, 6, 8)}
    late = [bounds(1 * days, 4 * days), bounds(4 * days, 7 * days)]
    assert list(stretches(plan("daily"), late, computed)) == [
        ("2026-03-02", "2026-03-03"),
        ("2026-03-05", "2026-03-06"),
    ]
    assert list(stretches(plan("daily"), late, set())) == []


def test_hours_have_their_own_keys() -> None:
    hours = timedelta(hours=1)
    computed = {f"2026-03-01-{n:02}:00" for n in range(5)}
    assert list(stretches(plan("hourly"), [bounds(3 * hours, 9 * hours)], computed)) == [
        ("2026-03-01-03:00", "2026-03-01-04:00")
    ]


def test_groups_of_every_kind_of_source_are_looked_at() -> None:
    assert late_row_sensors([]) == []
    assert [sensor.name for sensor in late_row_sensors([plan("daily"), plan("hourly")])] == ["late_rows"]
