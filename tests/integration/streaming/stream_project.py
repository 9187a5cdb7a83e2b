"""A project of one stream and one group as Dagster loads it: its sensors' ticks, its jobs, what readers see."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import dagster as dg
from confluent_kafka import Producer
from dagster._core.definitions.sensor_definition import SensorExecutionData

from feature_assets.dead_letters import dead_letter_check
from feature_assets.keys import online_key
from feature_assets.online import fresh_check, online_asset
from feature_assets.sources import source_specs
from feature_assets.stream_jobs import stream_jobs, stream_schedules
from feature_assets.streams import reconcile_asset, stream_asset
from feature_store import INT, STRING, TIMESTAMP, Entity, Feature, FeatureGroup, FeatureView, StreamSource, agg
from feature_store.client import FeatureStore
from feature_store.offline.standing import standing_rows
from feature_store.plan.build import build_plan
from feature_store.settings import Settings
from feature_store.streaming.jobs import Streams
from resources.spark import SparkResource
from resources.store import FeatureStoreResource
from sensors.dead_letters import dead_letter_sensors
from sensors.freshness import freshness_sensors
from sensors.streams import PROGRESS, SUPERVISOR, stream_sensors

PACKAGE = "visits_project"
TOPIC = "test.visits"
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
YESTERDAY = TODAY - timedelta(days=1)

VISITS = StreamSource(
    "visits",
    topic=TOPIC,
    schema={"guest_id": STRING, "page": STRING, "ts": TIMESTAMP},
    event_timestamp="ts",
    time_format="us",
    max_out_of_orderness="200ms",
    allowed_lateness="2s",
)
GROUP = FeatureGroup(
    "guest_visits",
    entity=Entity("guest", join_key="guest_id"),
    source=VISITS,
    owner="team:test",
    start=f"{TODAY - timedelta(days=9):%Y-%m-%d}",
    commit_interval="1s",
    freshness="10s",
    buckets=1,
    parallelism=1,
    features=[
        Feature("guest_visit_count_all_time", agg.count(), window="all_time", dtype=INT, default=0),
        Feature("guest_visit_count_10s", agg.count(), window="10s", dtype=INT, default=0),
    ],
)
VIEW = FeatureView("guests", groups=[GROUP], owner="team:test")
PLAN = build_plan(GROUP)
LOG = "log of visits"


class Project:
    """The group's project as Dagster and the command line load it, and its ticks."""

    def __init__(self, settings: Settings) -> None:
        self.store = FeatureStore(settings)
        self.instance = dg.DagsterInstance.ephemeral()
        self.cursors: dict[str, str | None] = {}
        self.producer = Producer({"bootstrap.servers": settings.kafka_servers, "log_level": 0})
        jobs = stream_jobs([PLAN])
        self.definitions = dg.Definitions(
            assets=[
                *source_specs([(PLAN, "visits")]),
                stream_asset(PLAN, "visits", chunk=30),
                online_asset(PLAN, "visits"),
                reconcile_asset(PLAN, "visits", chunk=30),
            ],
            asset_checks=[fresh_check(PLAN), dead_letter_check(VISITS)],
            jobs=jobs,
            schedules=stream_schedules([PLAN]),
            sensors=[*stream_sensors([PLAN], jobs), *freshness_sensors([PLAN]), *dead_letter_sensors([PLAN])],
            resources={"spark": SparkResource(), "store": FeatureStoreResource(definitions=PACKAGE)},
            executor=dg.in_process_executor,
        )

    @cached_property
    def streams(self) -> Streams:
        return FeatureStoreResource(definitions=PACKAGE).streams

    def tick(self, name: str) -> SensorExecutionData:
        """One tick of a sensor, with the cursor that its last one left, as the daemon would do it."""
        sensor = self.definitions.get_repository_def().get_sensor_def(name)
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursors.get(name),
            definitions=self.definitions,
            resources={"store": FeatureStoreResource(definitions=PACKAGE)},
        ) as context:
            done = sensor.evaluate_tick(context)
        self.cursors[name] = done.cursor or self.cursors.get(name)
        for event in done.asset_events:
            self.instance.report_runless_asset_event(event)
        return done

    def supervise(self) -> SensorExecutionData:
        """One tick of the sensor that keeps the jobs running."""
        return self.tick(SUPERVISOR)

    def report(self) -> SensorExecutionData:
        """One tick of the sensor that tells how far they are."""
        return self.tick(PROGRESS)

    def run(self, job: str, tags: dict[str, str] | None = None, **config: Any) -> dg.ExecuteInProcessResult:
        (op,) = {"stream_start": ["start"], "stream_stop": ["stop"], "stream_replay": ["replay"]}.get(job, [""])
        ops = {f"{op}_streams" if op != "replay" else "replay_dead_letters": {"config": config}} if op else {}
        return self.definitions.resolve_job_def(job).execute_in_process(
            run_config={"ops": ops}, instance=self.instance, tags=tags, raise_on_error=False
        )

    def send(self, *events: tuple[str, datetime]) -> None:
        for guest, at in events:
            event = {"guest_id": guest, "page": "p", "ts": int(at.timestamp() * 1e6)}
            self.producer.produce(TOPIC, json.dumps(event).encode(), partition=0)
        assert self.producer.flush(30) == 0

    def rows(self, guest: str) -> list[dict[str, Any]]:
        rows = standing_rows(self.store.catalog.load_table(PLAN.schema.table).scan().to_arrow()).to_pylist()
        return [row for row in rows if row["guest_id"] == guest]

    def online(self, guest: str) -> int:
        (row,) = self.store.online("guests@1", [{"guest_id": guest}]).to_dicts()
        return int(row["guest_visit_count_all_time"])

    def checked(self) -> dg.AssetCheckEvaluation:
        """The newest evaluation of the freshness."""
        key = dg.AssetCheckKey(online_key(GROUP), "fresh")
        record = self.instance.get_latest_asset_check_evaluation_record(key)
        assert record is not None
        assert record.event is not None
        evaluation = record.event.get_dagster_event().event_specific_data
        assert isinstance(evaluation, dg.AssetCheckEvaluation)
        return evaluation

    def live(self) -> list[str]:
        """The names of the jobs that are alive."""
        return [job.name for job in self.streams.flink.jobs([LOG, GROUP.id])]
