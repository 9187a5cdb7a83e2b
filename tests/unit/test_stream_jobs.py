"""The jobs and schedules of streaming groups, also of several cadences and first days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from feature_assets.online import online_asset
from feature_assets.partitions import last_over
from feature_assets.stream_jobs import stream_jobs, stream_schedules
from feature_assets.streams import reconcile_asset, stream_asset
from feature_store import INT, STRING, TIMESTAMP, Entity, Feature, FeatureGroup, StreamSource, agg
from feature_store.compile.flink import FlinkJob, Start, Target, group_job
from feature_store.plan.build import build_plan
from feature_store.plan.nodes import GroupPlan
from feature_store.streaming import wanted
from feature_store.streaming.progress import Progress
from feature_store.streaming.wanted import wanted_jobs
from resources.spark import SparkResource
from resources.store import FeatureStoreResource
from sensors.streams import Seen, stream_sensors

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def plan(name: str, lateness: str = "10m", **more: Any) -> GroupPlan:
    stream = StreamSource(
        f"{name}_events",
        topic=name,
        event_timestamp="ts",
        schema={"user_id": STRING, "ts": TIMESTAMP},
        allowed_lateness=lateness,
    )
    count = Feature("user_count_1h", agg.count(), window="1h", dtype=INT)
    given: dict[str, Any] = {"entity": Entity("user", join_key="user_id"), "source": stream, "owner": "team:t"}
    return build_plan(FeatureGroup(name, features=[count], **{**given, **more}))


def definitions(*plans: GroupPlan) -> dg.Definitions:
    return dg.Definitions(
        assets=[
            *(make(plan, "test", chunk=30) for plan in plans for make in (stream_asset, reconcile_asset)),
            *(online_asset(plan, "test") for plan in plans),
        ],
        jobs=stream_jobs(plans),
        schedules=stream_schedules(plans),
        resources={"spark": SparkResource(), "store": FeatureStoreResource()},
    )


def requested(schedule: dg.ScheduleDefinition, defs: dg.Definitions, at: datetime) -> list[str | None]:
    context = dg.build_schedule_context(
        scheduled_execution_time=at, repository_def=defs.get_repository_def(), instance=dg.DagsterInstance.ephemeral()
    )
    return [run.partition_key for run in schedule.evaluate_tick(context).run_requests or []]


def test_a_project_without_streams_has_none() -> None:
    assert (stream_jobs([]), stream_schedules([])) == ([], [])


def test_a_streaming_group_shows_its_flink_sql_without_addresses() -> None:
    (spec,) = stream_asset(plan("one"), "test", chunk=30).specs
    sql = spec.metadata["sql"].value
    assert sql.startswith("```sql\n-- view parsed\nSELECT")
    assert "INSERT INTO `fs`.`features`.`one_v1`" in sql
    assert "'connector'" not in sql


def test_groups_of_other_partitions_have_jobs_of_their_own() -> None:
    defs = definitions(plan("one"), plan("two", start="2026-02-01"), plan("three", refresh="hourly"), plan("four"))
    dg.Definitions.validate_loadable(defs)
    jobs = {
        job.name: sorted(key.path[1] for key in job.asset_layer.executable_asset_keys)
        for job in defs.get_repository_def().get_all_jobs()
        if job.name.startswith(("reconcile", "backfill"))
    }
    assert jobs == {
        "reconcile_streams_daily_20240101": ["four", "one"],
        "reconcile_streams_daily_20260201": ["two"],
        "reconcile_streams_hourly_20240101": ["three"],
        **{f"backfill_{name}_v1": [name, name] for name in ("one", "two", "three", "four")},
    }
    crons = {schedule.name: schedule.cron_schedule for schedule in defs.get_repository_def().schedule_defs}
    assert crons == {
        "reconcile_streams_daily_20240101_schedule": "30 0 * * *",
        "reconcile_streams_daily_20260201_schedule": "30 0 * * *",
        "reconcile_streams_hourly_20240101_schedule": "30 * * * *",
    }


@pytest.mark.parametrize(
    ("given", "partition"),
    [
        ({}, "2026-03-04"),
        ({"lateness": "26h"}, "2026-03-02"),
        ({"commit_interval": "30m"}, "2026-03-03"),
        ({"refresh": "hourly"}, "2026-03-04-23:00"),
        ({"refresh": "hourly", "lateness": "1h"}, "2026-03-04-22:00"),
        ({"start": "2026-03-05"}, None),
    ],
)
def test_the_reconcile_waits_until_events_can_no_longer_be_late(given: dict[str, Any], partition: str | None) -> None:
    defs = definitions(plan("one", **given))
    (schedule,) = defs.get_repository_def().schedule_defs
    found = requested(schedule, defs, datetime(2026, 3, 5, 0, 30, tzinfo=UTC))
    assert found == ([partition] if partition else [])


def test_the_last_partition_that_is_over() -> None:
    group = plan("one", start="2026-03-01").group
    assert last_over(group, datetime(2026, 3, 1, 23, 59, tzinfo=UTC)) is None
    assert last_over(group, datetime(2026, 3, 2, tzinfo=UTC)) == "2026-03-01"
    assert last_over(group, datetime(2026, 3, 3, 12, tzinfo=UTC)) == "2026-03-02"


@pytest.mark.parametrize(
    ("watermark", "records", "is_news"),
    [(None, 5, False), (NOON, 5, False), (NOON, 6, True), (NOON + timedelta(seconds=1), 5, True), (NOON, 0, True)],
)
def test_a_look_reports_what_came_after_the_last_one(watermark: datetime | None, records: int, is_news: bool) -> None:
    """Flink may tell the watermark of messages before it tells their number; a job that restarted counts anew."""
    seen = Seen(job="j", watermark=NOON.isoformat(), records_in=5)
    assert seen.lacks(Progress("j", "RUNNING", watermark=watermark, records_in=records)) == is_news


def test_a_jobs_texts_are_compiled_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []

    def counted(plan: GroupPlan, target: Target, start: Start) -> FlinkJob:
        compiled.append(plan.group.id)
        return group_job(plan, target, start)

    monkeypatch.setattr(wanted, "group_job", counted)
    jobs = wanted_jobs([plan("one"), plan("two")])
    seen = [{job.name: job.fingerprint for job in jobs} for _ in range(3)]
    assert seen[0] == seen[1] == seen[2]
    assert compiled == ["one@1", "two@1"]


def test_all_streams_have_two_sensors() -> None:
    plans = [plan("one"), plan("two")]
    names = [sensor.name for sensor in stream_sensors(plans, stream_jobs(plans))]
    assert names == ["streams", "stream_progress"]
    assert stream_sensors([], []) == []
