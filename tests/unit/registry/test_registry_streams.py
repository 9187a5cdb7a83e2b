"""Streaming groups in the registry: recorded, read back, and their changes judged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from feature_store.registry.desired import desired_state
from feature_store.registry.diff import plan_changes
from tests.unit.registry.registry_cases import altered, compiled, group

SCHEMA = {"user_id": "STRING", "kind": "STRING", "n": "INT", "ts": "TIMESTAMP"}
CLICKS: dict[str, Any] = {"name": "clicks", "topic": "clicks", "event_timestamp": "ts", "schema": SCHEMA}
LOG = {"name": "all_clicks", "table": "raw.clicks", "event_timestamp": "ts", "schema": SCHEMA}
COUNT = {"name": "user_view_count_session", "agg": {"function": "count"}, "dtype": "INT", "window": "session(30m)"}
ACTIVITY: dict[str, Any] = {
    "name": "user_activity",
    "entity": {"name": "user", "join_key": "user_id"},
    "source": CLICKS,
    "owner": "team:shop",
    "where": "kind = 'view'",
    "features": [COUNT],
}


def changed(before: dict[str, Any], **changes: Any) -> tuple[list[str], bool]:
    recorded = desired_state(compiled(group(before)))
    plan = plan_changes(recorded, compiled(group(before, **changes)))
    return [str(detail) for change in plan.changes for detail in change.details], bool(plan.breaking)


def test_a_recorded_streaming_group_is_read_back() -> None:
    definition = group(ACTIVITY, commit_interval="1m", source=altered(CLICKS, history=LOG))
    state = desired_state(compiled(definition))
    (record,), (entity,) = state.groups, state.entities
    assert record.group(entity) == definition
    assert json.loads(json.dumps(record.definition))["source"]["topic"] == "clicks"
    assert changed(ACTIVITY, commit_interval="300s", slide="1000ms", freshness="120s") == ([], False)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"commit_interval": "1m"}, "commit_interval: 5m -> 1m"),
        ({"parallelism": 4}, "parallelism: 2 -> 4"),
        ({"freshness": "30s"}, "freshness: 2m -> 30s"),
        ({"source": altered(CLICKS, max_out_of_orderness="2s")}, "source: max_out_of_orderness: 500ms -> 2s"),
        ({"source": altered(CLICKS, allowed_lateness="1h")}, "source: allowed_lateness: 10m -> 1h"),
        ({"source": altered(CLICKS, heartbeats=False)}, "source: heartbeats: True -> False"),
        ({"source": altered(CLICKS, time_format="ms")}, "source: time_format: iso -> ms"),
        ({"source": altered(CLICKS, schema={**SCHEMA, "more": "BOOL"})}, "source column more added: BOOL"),
        ({"where": "kind='view'"}, "where: kind = 'view' -> kind='view'"),
    ],
)
def test_safe_changes(changes: dict[str, Any], expected: str) -> None:
    assert changed(ACTIVITY, **changes) == ([expected], False)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"slide": "2s"}, ["slide: 1s -> 2s"]),
        ({"source": altered(CLICKS, topic="views")}, ["source: location: topic clicks -> topic views"]),
        (
            {"source": altered(CLICKS, history=LOG)},
            ["source: event log: table events.clicks -> table raw.clicks"],
        ),
        ({"source": altered(CLICKS, event_id="n")}, ["source: event_id: none -> n"]),
        (
            {"features": [altered(COUNT, window="session(1h)")]},
            ["feature user_view_count_session: window: session(30m) -> session(1h)"],
        ),
        ({"where": "kind = 'cart'"}, ["where: kind = 'view' -> kind = 'cart'"]),
    ],
)
def test_breaking_changes(changes: dict[str, Any], expected: list[str]) -> None:
    assert changed(ACTIVITY, **changes) == (expected, True)


def test_a_column_that_comes_with_its_history_is_safe() -> None:
    before = altered(ACTIVITY, source=altered(CLICKS, history=LOG))
    schema = {**SCHEMA, "more": "BOOL"}
    source = altered(CLICKS, schema=schema, history=altered(LOG, schema=schema))
    details, breaking = changed(before, source=source, where="kind='view'")
    assert details == ["where: kind = 'view' -> kind='view'", "source column more added: BOOL"]
    assert not breaking


def test_a_batch_group_does_not_become_a_stream() -> None:
    details, breaking = changed(altered(ACTIVITY, source=LOG, slide="1m"), source=altered(CLICKS, history=LOG))
    assert breaking
    assert "source: location: table raw.clicks -> topic clicks" in details
