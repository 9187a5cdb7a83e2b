"""CPU time of the sensors' ticks for 400 batch and 100 streaming groups, each of which has nothing to do.

Run: .fs/venv/bin/python -m benchmarks.sensors   (a running stack, ./fs up --streams --no-dagster; a minute)

The groups have tables in the catalog, records in the registry and topics in Kafka, of names of their own, which are
removed at the end. Flink is played by a server in another process that says that every job runs: a machine of two
cores does not run 120 jobs. What counts is the CPU time of the process that ticks, on average over three ticks after
the first, which imports.

Exit code 1 if all ticks of 30 seconds together take 2 s or more.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection

import dagster as dg
from confluent_kafka.admin import AdminClient
from sqlalchemy import delete
from sqlalchemy.orm import Session

from feature_assets.stream_jobs import stream_jobs
from feature_store import INT, STRING, TIMESTAMP, BatchSource, Entity, Feature, FeatureGroup, StreamSource, agg
from feature_store.client import FeatureStore
from feature_store.offline.tables import ensure_table
from feature_store.plan.build import build_plan
from feature_store.plan.nodes import GroupPlan
from feature_store.registry.streams import StreamJob, StreamJobs
from feature_store.registry.tables import StreamJobRow
from feature_store.settings import Settings
from feature_store.streaming.topics import Topics
from feature_store.streaming.wanted import Wanted, wanted_jobs
from resources.store import FeatureStoreResource
from sensors.alerts import Watched, alert_sensor
from sensors.dead_letters import dead_letter_sensors
from sensors.freshness import freshness_sensors
from sensors.late_events import late_event_sensors
from sensors.late_rows import late_row_sensors
from sensors.streams import stream_sensors

BATCH, STREAMING, TOPICS = 400, 100, 20
TICKS = 3
PERIOD_SECONDS, BUDGET_SECONDS = 30.0, 2.0
MARK = "sensor_bench"
SCHEMA = {"user_id": STRING, "ts": TIMESTAMP}


def main() -> int:
    """Prints a line for each sensor, and the sum for each 30 seconds."""
    batch = [_plan(f"{MARK}_batch_{n}", "2d", _table(n % TOPICS)) for n in range(BATCH)]
    streaming = [_plan(f"{MARK}_stream_{n}", "1h", _topic(n % TOPICS)) for n in range(STREAMING)]
    sensors = [
        *stream_sensors(streaming, stream_jobs(streaming)),
        *freshness_sensors(streaming),
        *dead_letter_sensors(streaming),
        *late_row_sensors(batch),
        *late_event_sensors(streaming),
        alert_sensor(Watched.of([*batch, *streaming])),
    ]
    total = 0.0
    with _everything_runs(batch, streaming), dg.DagsterInstance.ephemeral() as instance:
        for sensor in sensors:
            seconds, said = _tick(sensor, instance)
            share = seconds * PERIOD_SECONDS / (sensor.minimum_interval_seconds or PERIOD_SECONDS)
            total += share
            print(f"{sensor.name:16} {seconds:6.3f} s of CPU a tick, {share:6.3f} s in {PERIOD_SECONDS:g} s   {said}")
    print(f"{BATCH + STREAMING} groups: {total:.2f} s of CPU in {PERIOD_SECONDS:g} s")
    return int(total >= BUDGET_SECONDS)


def _table(number: int) -> BatchSource:
    return BatchSource(f"{MARK}_orders_{number}", table=f"raw.bench_{number}", event_timestamp="ts", schema=SCHEMA)


def _topic(number: int) -> StreamSource:
    return StreamSource(f"{MARK}_{number}", topic=f"{MARK}.{number}", event_timestamp="ts", schema=SCHEMA)


def _plan(name: str, window: str, source: BatchSource | StreamSource) -> GroupPlan:
    count = Feature(f"user_count_{window}", agg.count(), window=window, dtype=INT)
    user = Entity("user", join_key="user_id")
    return build_plan(FeatureGroup(name, entity=user, source=source, owner="team:bench", features=[count]))


@contextmanager
def _everything_runs(batch: Sequence[GroupPlan], streaming: Sequence[GroupPlan]) -> Iterator[None]:
    """Tables, topics and records of all groups, and an address where Flink says that the jobs run."""
    store, wanted = FeatureStore(Settings.load()), wanted_jobs(streaming)
    store.settings.require_streams()
    records, topics = StreamJobs(store.registry.engine), sorted({job.stream.topic for job in wanted})
    try:
        for plan in [*batch, *streaming]:
            ensure_table(store.catalog, plan.schema)
        for topic in topics:
            Topics(store.settings.kafka_servers).ensure(topic, 1)
        jobs = [_record(number, job) for number, job in enumerate(wanted)]
        for job in jobs:
            records.write(job)
        with _flink([(job.flink_job_id, job.name) for job in jobs]) as url:
            os.environ["FS_FLINK_URL"] = url
            yield
    finally:
        with Session(store.registry.engine) as session, session.begin():
            session.execute(delete(StreamJobRow).where(StreamJobRow.name.in_([job.name for job in wanted])))
        AdminClient({"bootstrap.servers": store.settings.kafka_servers}).delete_topics(topics)
        for plan in [*batch, *streaming]:
            store.catalog.purge_table(plan.schema.table)


def _record(number: int, wanted: Wanted) -> StreamJob:
    started = {"flink_job_id": f"{number:032x}", "starts": 1}
    return StreamJob(wanted.name, "running", wanted.fingerprint, wanted.state_fingerprint, **started)


def _tick(sensor: dg.SensorDefinition, instance: dg.DagsterInstance) -> tuple[float, str]:
    """CPU seconds of this process for a tick, and what the last one said."""
    used, cursor, said = 0.0, None, ""
    for tick in range(TICKS + 1):
        store = FeatureStoreResource()
        begun = time.process_time()
        with dg.build_sensor_context(instance=instance, cursor=cursor, resources={"store": store}) as context:
            answer = sensor(context)
        used += (time.process_time() - begun) * (tick > 0)
        said = str(answer)
        if isinstance(answer, dg.SensorResult):
            cursor = answer.cursor or cursor
            said = f"{len(answer.run_requests or [])} runs, {len(answer.asset_events)} events"
    return used / TICKS, said[:100]


@contextmanager
def _flink(jobs: Sequence[tuple[str, str]]) -> Iterator[str]:
    """The address of a server that answers as a JobManager whose jobs run."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_serve, args=(there, jobs), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join()


def _serve(connection: Connection, jobs: Sequence[tuple[str, str]]) -> None:
    overview = [{"jid": jid, "name": name, "state": "RUNNING", "start-time": 0} for jid, name in jobs]
    parts = [
        {"id": str(number), "name": name, "status": "RUNNING", "metrics": {"read-records": 5}}
        for number, name in enumerate(("Source: messages", "updates: Writer"))
    ]

    class JobManager(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            now = int(datetime.now(UTC).timestamp() * 1000)
            done = {"latest_ack_timestamp": now, "state_size": 1, "end_to_end_duration": 1}
            if self.path == "/jobs/overview":
                found: object = {"jobs": overview}
            elif self.path.endswith("/watermarks"):
                found = [{"id": "0.currentInputWatermark", "value": str(now)}]
            elif self.path.endswith("/checkpoints"):
                found = {"latest": {"completed": done}, "counts": {"restored": 0}}
            else:
                found = {"jid": self.path.rpartition("/")[2], "state": "RUNNING", "vertices": parts}
            body = json.dumps(found).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), JobManager)
    connection.send(server.server_port)
    server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
