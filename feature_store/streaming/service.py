"""The process beside Flink: loads updates into Redis, sends heartbeats, notes how far each group has come.

`python -m feature_store.streaming.service` serves the streaming groups of the registry that have a job.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from feature_store.errors import FeatureStoreError
from feature_store.online.connection import connect
from feature_store.online.writer import GuardedWriter
from feature_store.plan.build import build_plan
from feature_store.plan.nodes import GroupPlan
from feature_store.registry.store import Registry
from feature_store.registry.streams import StreamJobs
from feature_store.settings import Settings
from feature_store.streaming.cluster import FlinkCluster
from feature_store.streaming.heartbeats import EVERY_SECONDS, Heartbeats
from feature_store.streaming.loader import Loader
from feature_store.streaming.progress import watermark

READY_FILE = "stream-loader.ready"
LOOK_SECONDS = 2.0
PROGRESS_SECONDS = 1.0
PAUSE_SECONDS = 1.0

log = logging.getLogger("feature_store.streams")


@dataclass(frozen=True)
class Served:
    """The groups to serve, and Flink's ids of their jobs by group."""

    plans: tuple[GroupPlan, ...] = ()
    job_ids: tuple[tuple[str, str], ...] = ()


def recorded_streams(registry: Registry) -> Served:
    """The streaming groups of the registry that have a job."""
    state, jobs = registry.state(), StreamJobs(registry.engine).read()
    entities = {entity.name: entity for entity in state.entities}
    plans = [build_plan(record.group(entities[record.entity])) for record in state.groups if record.id in jobs]
    streaming = tuple(plan for plan in plans if plan.stream is not None)
    running = tuple((job.name, job.flink_job_id) for job in jobs.values() if job.desired == "running")
    return Served(streaming, running)


class Service:
    """Three loops over what is served, each in a thread of its own; a failure is logged and tried again."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stopped = threading.Event()
        self._served = Served()
        self._redis = connect(settings.redis_url)
        self._loader = Loader(settings.kafka_servers, self._redis)
        self._heartbeats = Heartbeats(settings.kafka_servers)
        self._cluster = FlinkCluster(settings)

    def run(self) -> None:
        """Serves until `stopped` is set."""
        registry = Registry(self.settings.database_url("registry"))
        threads = [
            threading.Thread(target=self._repeat, args=(action, seconds), daemon=True)
            for action, seconds in (
                (lambda: self._look(registry), LOOK_SECONDS),
                (self._heartbeats.send, EVERY_SECONDS),
                (self._note_progress, PROGRESS_SECONDS),
            )
        ]
        registry.upgrade()
        self._look(registry)
        for thread in threads:
            thread.start()
        (self.settings.home / READY_FILE).touch()
        self._repeat(self._load, 0.0)
        self._loader.close()

    def _repeat(self, action: Callable[[], None], seconds: float) -> None:
        while not self.stopped.is_set():
            try:
                action()
            except Exception as error:
                log.warning("%s: %s", type(error).__name__, error)
                self.stopped.wait(PAUSE_SECONDS)
            if seconds:
                self.stopped.wait(seconds)

    def _look(self, registry: Registry) -> None:
        """Takes over what the registry says now."""
        served = recorded_streams(registry)
        self._heartbeats.serve({p.stream.topic for p in served.plans if p.stream is not None and p.stream.heartbeats})
        self._served = served

    def _load(self) -> None:
        self._loader.serve([plan.schema for plan in self._served.plans])
        self._loader.step()

    def _note_progress(self) -> None:
        """Says in Redis that a group is up to date, once all rows up to the job's watermark are there."""
        seen, now = time.monotonic(), datetime.now(UTC)
        job_ids, marks = dict(self._served.job_ids), []
        for plan in self._served.plans:
            mark = watermark(self._cluster, job_ids[plan.group.id]) if plan.group.id in job_ids else None
            if mark is not None and now - mark < timedelta(days=1):
                marks.append((plan, mark))
        while marks and self._loader.caught_up < seen and not self.stopped.is_set():
            self.stopped.wait(0.01)
        for plan, mark in marks:
            GuardedWriter(self._redis, plan.schema).touch(now, int(mark.timestamp() * 1e6) // plan.slide * plan.slide)


def main() -> int:
    """Runs the service until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        settings = Settings.load()
        settings.require_streams()
    except FeatureStoreError as error:
        sys.stderr.write(f"fs: {error}\n")
        return 1
    service = Service(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stopped.set())
    (settings.home / READY_FILE).unlink(missing_ok=True)
    service.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
