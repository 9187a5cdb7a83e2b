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

from feature_store.dtypes import to_micros
from feature_store.errors import FeatureStoreError
from feature_store.offline.catalog import open_catalog
from feature_store.online.connection import connect
from feature_store.online.writer import GuardedWriter
from feature_store.plan.build import build_plan
from feature_store.plan.nodes import GroupPlan
from feature_store.plan.schema import GroupSchema
from feature_store.registry.store import Registry
from feature_store.registry.streams import StreamJobs
from feature_store.settings import LOADER_READY, Settings
from feature_store.streaming.deployment import deployment
from feature_store.streaming.heartbeats import EVERY_SECONDS, Heartbeats
from feature_store.streaming.loader import Loader
from feature_store.streaming.progress import watermark
from feature_store.streaming.refill import refill

LOOK_SECONDS = 2.0
PROGRESS_SECONDS = 1.0
PAUSE_SECONDS = 1.0
GIVE_UP = timedelta(minutes=1)
"""After this long without passing a mark the loader is given a new one: partitions may have moved to another."""

log = logging.getLogger("feature_store.streams")


@dataclass(frozen=True)
class Mark:
    """What is true of a group once its updates up to `ends` are in Redis: all its rows up to `newest` were, at `seen`.

    Args:
        newest: feature timestamp (microseconds).
        ends: offsets, by partition.
    """

    seen: datetime
    newest: int
    ends: dict[int, int]


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
        self._catalog = open_catalog(settings)
        self._loader = Loader(settings.kafka_servers, self._redis, self._refill)
        self._marks: dict[str, Mark] = {}
        self._heartbeats = Heartbeats(settings.kafka_servers)
        self._flink = deployment(settings)

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
        (self.settings.home / LOADER_READY).touch()
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

    def _refill(self, schema: GroupSchema) -> int | None:
        plan = next(plan for plan in self._served.plans if plan.schema == schema)
        return refill(self._catalog, self._redis, schema, plan.group.commit_size)

    def _note_progress(self) -> None:
        """Says in Redis that a group is up to date, once all rows up to its job's watermark are there."""
        alive = {job.id for job in self._flink.jobs(name for name, _ in self._served.job_ids)}
        job_ids = {name: job_id for name, job_id in self._served.job_ids if job_id in alive}
        groups = {plan.group.id: plan for plan in self._served.plans if plan.group.id in job_ids}
        self._marks = {name: mark for name, mark in self._marks.items() if name in groups}
        for name, plan in groups.items():
            waiting = self._marks.get(name)
            if waiting is None or datetime.now(UTC) - waiting.seen > GIVE_UP:
                self._mark(plan, job_ids[name])
        deadline = time.monotonic() + PROGRESS_SECONDS
        while self._marks and time.monotonic() < deadline and not self.stopped.is_set():
            for name, mark in list(self._marks.items()):
                if self._loader.has_passed(groups[name].schema, mark.ends):
                    GuardedWriter(self._redis, groups[name].schema).touch(mark.seen, mark.newest)
                    del self._marks[name]
            self.stopped.wait(0.01)

    def _mark(self, plan: GroupPlan, job_id: str) -> None:
        """Looks how far a group's job has come, and what updates it has written by then."""
        name, seen = plan.group.id, datetime.now(UTC)
        try:
            reached = watermark(self._flink.cluster_of(name), job_id)
            ends = self._loader.ends(plan.schema)  # after the watermark; none while partitions change hands
            if reached is not None and seen - reached < timedelta(days=1) and ends:
                self._marks[name] = Mark(seen, to_micros(reached) // plan.slide * plan.slide, ends)
        except Exception as error:  # the other groups go on
            log.warning("%s: %s", name, error)


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
    (settings.home / LOADER_READY).unlink(missing_ok=True)
    service.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
