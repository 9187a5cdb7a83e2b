"""The process beside Flink: loads updates into Redis, sends heartbeats, notes how far each group has come.

`python -m feature_store.streaming.service` serves the streaming groups of the registry that have a job.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from feature_store.dtypes import from_micros
from feature_store.errors import FeatureStoreError
from feature_store.offline.catalog import open_catalog
from feature_store.online.connection import OnlineClients
from feature_store.online.writer import GuardedWriter
from feature_store.plan.build import build_plan
from feature_store.plan.nodes import GroupPlan
from feature_store.plan.schema import GroupSchema
from feature_store.registry.recorded_vectors import keep_recorded_sets
from feature_store.registry.store import Registry
from feature_store.registry.streams import StreamJobs
from feature_store.settings import LOADER_READY, Settings
from feature_store.streaming.heartbeats import EVERY_SECONDS, Heartbeats
from feature_store.streaming.loader import Loader
from feature_store.streaming.marks import MILLISECOND, Reached
from feature_store.streaming.refill import refill

if TYPE_CHECKING:
    from redis import Redis

LOOK_SECONDS = 2.0
VECTORS_SECONDS = 10.0
PAUSE_SECONDS = 1.0

log = logging.getLogger("feature_store.streams")


def recorded_streams(registry: Registry) -> tuple[GroupPlan, ...]:
    """The streaming groups of the registry that have a job."""
    state, jobs = registry.state(), StreamJobs(registry.engine).read()
    entities = {entity.name: entity for entity in state.entities}
    plans = [build_plan(record.group(entities[record.entity])) for record in state.groups if record.id in jobs]
    return tuple(plan for plan in plans if plan.stream is not None)


class Service:
    """Loops over what is served, each in a thread of its own; a failure is logged and tried again."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stopped = threading.Event()
        self._plans: tuple[GroupPlan, ...] = ()
        self._clients = OnlineClients(settings.online_store_url)
        self._catalog = open_catalog(settings)
        self._loader = Loader(settings.kafka_servers, self._redis_of, self._refill, self._note_progress)
        self._heartbeats = Heartbeats(settings.kafka_servers)

    def run(self) -> None:
        """Serves until `stopped` is set."""
        registry = Registry(self.settings.database_url("registry"))
        threads = [
            threading.Thread(target=self._repeat, args=(action, seconds), daemon=True)
            for action, seconds in (
                (lambda: self._look(registry), LOOK_SECONDS),
                (self._heartbeats.send, EVERY_SECONDS),
                (lambda: self._keep_vectors(registry), VECTORS_SECONDS),
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
        plans = recorded_streams(registry)
        self._heartbeats.serve(
            {plan.stream.topic for plan in plans if plan.stream is not None and plan.stream.heartbeats}
        )
        self._plans = plans

    def _keep_vectors(self, registry: Registry) -> None:
        """Fills the vectors of pre-joined views that read the groups, where Redis does not keep them (any more)."""
        for store in {plan.schema.online_store for plan in self._plans}:
            groups = [plan.group.id for plan in self._plans if plan.schema.online_store == store]
            keep_recorded_sets(registry, self._clients.of(store), groups)

    def _load(self) -> None:
        self._loader.serve([plan.schema for plan in self._plans])
        self._loader.step()

    def _refill(self, schema: GroupSchema, full: bool) -> int | None:
        interval, rows = self._plan_of(schema).group.commit_size, self.settings.materialize_rows
        return refill(self._catalog, self._redis_of(schema), schema, interval, full=full, rows_at_once=rows)

    def _note_progress(self, schema: GroupSchema, reached: Reached) -> None:
        """Says in Redis up to when a group's rows are there.

        Without heartbeats nobody knows whether a row is due while no events come: that the job is alive counts then.
        """
        plan = self._plan_of(schema)
        assert plan.stream is not None
        beats, disorder = plan.stream.heartbeats, plan.stream.out_of_orderness_size
        complete_at = reached.complete_at(disorder) if beats else reached.written * MILLISECOND
        GuardedWriter(self._redis_of(schema), schema).touch(from_micros(complete_at), reached.newest(plan.slide))

    def _redis_of(self, schema: GroupSchema) -> Redis:
        return self._clients.of(schema.online_store)

    def _plan_of(self, schema: GroupSchema) -> GroupPlan:
        return next(plan for plan in self._plans if plan.schema == schema)


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
