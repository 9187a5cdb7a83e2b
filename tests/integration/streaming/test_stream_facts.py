"""What sensors decide by, on real Redis and Iceberg: a group's freshness, and the span that batch computes for it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog

from feature_store import INT, STRING, TIMESTAMP, BatchSource, Entity, Feature, FeatureGroup, StreamSource, agg
from feature_store.dtypes import to_micros
from feature_store.errors import StackError
from feature_store.offline.catalog import open_catalog
from feature_store.offline.tables import ensure_table
from feature_store.online.connection import connect
from feature_store.online.writer import GuardedWriter
from feature_store.plan.build import build_plan
from feature_store.plan.nodes import GroupPlan
from feature_store.settings import Settings
from feature_store.streaming.backfill import span_before_cut
from feature_store.streaming.freshness import freshness
from feature_store.streaming.tables import ensure_log

NOW = datetime(2026, 3, 5, 12, tzinfo=UTC)


def plan(name: str, stream: dict[str, Any] | None = None, **more: Any) -> GroupPlan:
    given: dict[str, Any] = {"topic": name, "event_timestamp": "ts", "max_out_of_orderness": "500ms"}
    source = StreamSource(name, schema={"user_id": STRING, "ts": TIMESTAMP}, **{**given, **(stream or {})})
    count = Feature("user_count_1h", agg.count(), window="1h", dtype=INT)
    group = {"entity": Entity("user", join_key="user_id"), "source": source, "owner": "team:t", "start": "2026-03-01"}
    return build_plan(FeatureGroup(name, features=[count], **{**group, **more}))


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("stream", "group", "touched", "newest", "behind", "verdict"),
    [
        ({}, {"slide": "1s"}, 0.5, 1.5, 0.0, "fresh"),
        ({}, {"slide": "1s"}, 0.5, 31.5, 30.0, "fresh"),
        ({}, {"slide": "1s"}, 0.5, 31.500001, 30.000001, "late"),
        ({}, {"slide": "1s"}, 60.000001, 1.5, 0.0, "overdue"),
        ({}, {"slide": "1h"}, 0.5, 3600.5, 0.0, "fresh"),
        ({"heartbeats": False}, {"slide": "1s"}, 0.5, 9999.0, 0.0, "fresh"),
        ({}, {}, 3.0, None, 0.0, "fresh"),
    ],
)
def test_freshness_is_read_from_redis(
    stack: Settings,
    request: pytest.FixtureRequest,
    stream: dict[str, Any],
    group: dict[str, Any],
    touched: float,
    newest: float | None,
    behind: float,
    verdict: str,
) -> None:
    name = f"facts_{abs(hash(request.node.name))}"
    lateness = {"allowed_lateness": "2h"}
    found_plan = plan(name, {**lateness, **stream}, freshness="30s", **group)
    with connect(stack.redis_url) as redis:
        assert freshness(redis, found_plan, NOW).verdict == "unknown", "nothing was told yet"
        newest_at = None if newest is None else to_micros(ago(newest))
        GuardedWriter(redis, found_plan.schema).touch(ago(touched), newest_at)
        found = freshness(redis, found_plan, NOW)
    assert (found.touched, found.newest) == (touched, newest)
    assert found.behind == pytest.approx(behind, abs=1e-9)
    assert found.verdict == verdict


def test_a_redis_that_is_down_is_told() -> None:
    with pytest.raises(StackError, match="Redis does not answer"), connect("redis://127.0.0.1:9/0") as redis:
        freshness(redis, plan("facts_down"), NOW)


@pytest.mark.parametrize(
    ("group", "cut", "expected"),
    [
        ({}, "2026-03-05", ("2026-03-03T00:00", "2026-03-05T00:00")),
        ({}, "2026-03-06", ("2026-03-03T00:00", "2026-03-05T00:00")),  # 5 March is not over yet
        ({"start": "2026-03-04"}, "2026-03-05", ("2026-03-04T00:00", "2026-03-05T00:00")),
        ({"start": "2026-03-05"}, "2026-03-05", None),
        ({}, "2026-03-03", None),
        ({"refresh": "hourly"}, "2026-03-06", ("2026-03-03T00:00", "2026-03-05T12:00")),
    ],
)
def test_batch_computes_from_the_first_event_to_the_cut(
    catalog: Catalog, request: pytest.FixtureRequest, group: dict[str, Any], cut: str, expected: tuple[str, str] | None
) -> None:
    found_plan = plan(f"facts_{abs(hash(request.node.name))}", **group)
    assert found_plan.stream is not None
    table = ensure_log(catalog, found_plan.stream)
    for hours in (70.0, 50.0, 90.0):
        event = {"user_id": "u", "ts": datetime(2026, 3, 1, tzinfo=UTC) + timedelta(hours=hours)}
        table.append(pa.Table.from_pylist([event], schema=table.schema().as_arrow()))
    snapshot = table.current_snapshot()
    assert snapshot is not None
    older = {"user_id": "u", "ts": datetime(2026, 3, 1, tzinfo=UTC)}
    table.append(pa.Table.from_pylist([older], schema=table.schema().as_arrow()))  # after the stream took over
    start = {"snapshot": snapshot.snapshot_id, "cut": to_micros(datetime.fromisoformat(f"{cut}T00:00:00+00:00"))}
    span = span_before_cut(catalog, found_plan, start, NOW)
    assert (None if span is None else tuple(f"{at:%Y-%m-%dT%H:%M}" for at in span)) == expected
    assert span_before_cut(catalog, found_plan, {"snapshot": None, "cut": start["cut"]}, NOW) is None


def test_tables_can_be_made_by_several_at_once(catalog: Catalog, stack: Settings) -> None:
    """As the sensors of a new project do: the first tables of a namespace, at the same moment."""
    plans = [plan(f"facts_at_once_{n}", {"history": history(n)}) for n in range(8)]
    catalogs = [open_catalog(stack) for _ in plans]
    ready = Barrier(len(plans))

    def make(each: Catalog, made: GroupPlan) -> None:
        assert made.stream is not None
        ready.wait()
        ensure_log(each, made.stream)
        ensure_table(each, made.schema)

    with ThreadPoolExecutor(len(plans)) as threads:
        list(threads.map(make, catalogs, plans))
    assert catalog.table_exists("facts_at_once.log_0")
    assert all(catalog.table_exists(made.schema.table) for made in plans)


def history(n: int) -> BatchSource:
    """A log in a namespace that is not there yet, two sources to a table."""
    schema = {"user_id": STRING, "ts": TIMESTAMP}
    return BatchSource(f"log_{n}", table=f"facts_at_once.log_{n // 2}", event_timestamp="ts", schema=schema)
