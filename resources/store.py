"""The feature store as a Dagster resource: what assets and training jobs call."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import dagster as dg

from feature_store.client import FeatureStore
from feature_store.dsl.source import StreamSource
from feature_store.plan.nodes import GroupPlan
from feature_store.plan.schema import GroupSchema
from feature_store.settings import Settings

if TYPE_CHECKING:
    from pyiceberg.catalog.sql import SqlCatalog

    from feature_store.online.materialize import MaterializeReport
    from feature_store.pit.dataset import TrainingDataset
    from feature_store.registry.streams import StreamJob
    from feature_store.skew.report import SkewReport
    from feature_store.streaming.dead_letters import LetterCounts
    from feature_store.streaming.freshness import Freshness
    from feature_store.streaming.jobs import Streams
    from feature_store.streaming.wanted import Wanted


class FeatureStoreResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Gives training assets the same object as `FeatureStore()`.

    Args:
        definitions: the package that the project's definitions are in.

    Example:
        >>> @dg.asset
        ... def churn_training_set(store: FeatureStoreResource) -> dg.MaterializeResult:
        ...     data = store.client.training_dataset("repurchase@1", labels, name="churn").wait()
    """

    definitions: str = "feature_defs"

    @cached_property
    def settings(self) -> Settings:
        """Where the stack is."""
        return Settings.load()

    @cached_property
    def client(self) -> FeatureStore:
        """The feature store's client."""
        return FeatureStore(self.settings)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002
        """Closes the connections to Postgres: every tick of a sensor has a client of its own."""
        held = vars(self.client) if "client" in vars(self) else {}
        for part in ("registry", "catalog"):
            engine = getattr(held.get(part), "engine", None)
            if engine is not None:
                engine.dispose()

    @property
    def catalog(self) -> SqlCatalog:
        """The Iceberg catalog."""
        return self.client.catalog

    @cached_property
    def streams(self) -> Streams:
        """The Flink jobs of the project's streams.

        Raises:
            StackError: if the stack runs without Kafka and Flink.
        """
        from feature_store.dsl.collect import load_project
        from feature_store.plan.project import compile_project
        from feature_store.registry.posted import with_posted
        from feature_store.streaming.jobs import open_streams

        project = with_posted(load_project(self.definitions), self.client.registry.posted())
        plans = compile_project(project).groups
        return open_streams(self.settings, self.catalog, self.client.registry, plans)

    def streams_of(self, wanted: Sequence[Wanted]) -> Streams:
        """Some Flink jobs, which the caller keeps: their texts are compiled once in a process, and not for each tick.

        Raises:
            StackError: if the stack runs without Kafka and Flink.
        """
        from feature_store.registry.streams import StreamJobs
        from feature_store.streaming.jobs import Streams

        return Streams(self.settings, self.catalog, StreamJobs(self.client.registry.engine), wanted)

    def freshness(self, plans: Iterable[GroupPlan]) -> list[Freshness]:
        """How fresh streaming groups are now, in their order.

        Raises:
            StackError: if Redis does not answer.
        """
        from feature_store.online.connection import OnlineClients
        from feature_store.streaming.freshness import freshness

        with closing(OnlineClients(self.settings.online_store_url)) as clients:
            return [freshness(clients.of(plan.schema.online_store), plan, datetime.now(UTC)) for plan in plans]

    def dead_letters(self, stream: StreamSource) -> LetterCounts:
        """How many dead letters of a stream there are of the last hour.

        Raises:
            StackError: if the catalog does not answer.
        """
        from feature_store.streaming.dead_letters import count_dead_letters

        return count_dead_letters(self.catalog, stream, datetime.now(UTC))

    def stream_jobs(self) -> dict[str, StreamJob]:
        """What the registry knows of the Flink jobs that were ever started, by name.

        Raises:
            StackError: if the registry does not answer.
        """
        from feature_store.registry.streams import StreamJobs

        return StreamJobs(self.client.registry.engine).read()

    def flink_jobs(self, names: Collection[str]) -> set[str]:
        """Flink's ids of the jobs of some names, as far as they were ever started.

        Raises:
            StackError: if the registry does not answer.
        """
        if not names:
            return set()
        recorded = self.stream_jobs()
        return {recorded[name].flink_job_id for name in names if name in recorded and recorded[name].flink_job_id}

    def needed_snapshots(self, group: GroupSchema | None) -> set[int]:
        """The snapshot of a group's table from which the next materialization to Redis goes on.

        Raises:
            StackError: if Redis does not answer.
        """
        if group is None:
            return set()
        from feature_store.online.connection import connect
        from feature_store.online.progress import load_progress

        with connect(self.settings.online_store_url(group.online_store)) as redis:
            progress = load_progress(redis, group)
        return set() if progress is None else {progress.snapshot}

    def make_training_dataset(self, job_id: str, run_id: str) -> TrainingDataset:
        """Works on a training job in this process; of one that is done already it gives the dataset.

        Raises:
            NotFoundError: if there is no such job.
            ConflictError: if somebody else works on it, or it was cancelled.
            FeatureStoreError: what the job fails with.
        """
        from feature_store.registry.training_jobs import TrainingJobs
        from feature_store.registry.training_tables import JobState
        from feature_store.training_jobs.worker import TrainingWorker

        job = TrainingJobs(self.client.registry.engine).get(job_id)
        if job.state is JobState.SUCCEEDED:  # a run before this one recorded it, and was killed then
            return self.client.training_job(job_id).wait()
        return TrainingWorker(self.settings, self.client.registry).work(job_id, run_id)

    def follow_training_jobs(self) -> int:
        """Launches training jobs that wait, and gives those of lost workers to others; how many are not over.

        Raises:
            StackError: if the registry does not answer.
        """
        from feature_store.registry.training_jobs import ACTIVE, TrainingJobs

        if not TrainingJobs(self.client.registry.engine).find(states=ACTIVE, most=1):
            return 0
        from feature_store.training_jobs.service import TrainingService

        return TrainingService(self.settings, self.client.registry).follow_all()

    def sweep_training_tags(self, group: GroupSchema, now: datetime) -> list[str]:
        """Drops the tags that killed builds of training datasets have left in a group's table; gives their names.

        Raises:
            StackError: if the registry does not answer.
        """
        from feature_store.pit.dataset import datasets_folder
        from feature_store.pit.tags import sweep_tags

        table = self.catalog.load_table(group.table)
        return sweep_tags(table, datasets_folder(self.settings), self.client.registry.training_ids(), now)

    def sweep_unfinished_training(self, now: datetime) -> list[str]:
        """Removes the folders that killed builds of training datasets have left; gives their URLs."""
        from feature_store.pit.dataset import datasets_folder
        from feature_store.pit.tags import sweep_unfinished

        return sweep_unfinished(datasets_folder(self.settings), now)

    def report_skew(self, view_id: str) -> SkewReport:
        """Compares what was served of a recorded view with training, and keeps the report in the registry.

        Raises:
            NotFoundError: if the view is not recorded, or a group was never materialized.
            StackError: if Redis or the registry does not answer.
        """
        return self.client.skew(view_id, keep=True)

    def require_log(self, plan: GroupPlan, end: datetime) -> None:
        """For those who compute a streaming group from its event log: the log has all that can count before `end`.

        Nothing is required where Kafka is not known: somebody else then keeps the log.

        Raises:
            ConflictError: if the log is behind.
            StackError: if Kafka does not answer.
        """
        from feature_store.streaming.log_progress import require_log

        if plan.stream is not None and self.settings.kafka_servers:
            wait = plan.stream.out_of_orderness_size + plan.stream.lateness_size
            require_log(self.settings.kafka_servers, plan.stream, end + timedelta(microseconds=wait))

    def materialize_online(self, schema: GroupSchema) -> MaterializeReport:
        """Brings the newest rows of a group to Redis."""
        return self.client.materialize_online(schema)
