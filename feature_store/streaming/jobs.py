"""Keeping Flink as the definitions want it: start what is missing, resume what fell, redeploy what changed."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pyarrow import fs
from pyiceberg.catalog import Catalog

from feature_store.compile.flink import Start, Target, consumer_group, log_name, updates_topic
from feature_store.kafka_address import KafkaAddress
from feature_store.offline.tables import ensure_table
from feature_store.plan.nodes import GroupPlan
from feature_store.registry.store import Registry
from feature_store.registry.streams import StreamJob, StreamJobs
from feature_store.secret_files import KAFKA_FILE
from feature_store.settings import Settings
from feature_store.streaming.cluster import RunningJob
from feature_store.streaming.deployment import deployment
from feature_store.streaming.tables import ensure_dead_letters, ensure_log
from feature_store.streaming.takeover import take_over
from feature_store.streaming.topics import Topics
from feature_store.streaming.wanted import Wanted, wanted_jobs

_JOB_ID = "$internal.pipeline.job-id"  # Flink then refuses to start it twice
Did = Literal["runs", "started", "resumed", "redeployed", "begun anew", "stopped", "is stopped"]


@dataclass(frozen=True)
class Outcome:
    """What `Streams` found or did about one job; `state` is Flink's word, where it was only looked at."""

    name: str
    did: Did
    record: StreamJob
    state: str = ""


class Streams:
    """The jobs of a project's streams.

    Args:
        settings: with Kafka and Flink.
        catalog: the Iceberg catalog.
        records: what the registry knows of the jobs.
        wanted: the jobs that the project needs.

    Raises:
        StackError: if the stack runs without Kafka and Flink; also from every method, if one of them does not answer.
    """

    def __init__(self, settings: Settings, catalog: Catalog, records: StreamJobs, wanted: Iterable[Wanted]) -> None:
        settings.require_streams()
        self.settings = settings
        self.catalog = catalog
        self.records = records
        self.wanted = {job.name: job for job in wanted}
        self.flink = deployment(settings)
        self.topics = Topics(settings.kafka_servers)

    def settled(self) -> dict[str, Outcome]:
        """The jobs that are as they should be, by name: by one query, and one look at each cluster."""
        recorded, running = self.records.read(), defaultdict[str, list[RunningJob]](list)
        for job in self.flink.jobs(self.wanted):
            running[job.name].append(job)
        found = {}
        for name, wanted in self.wanted.items():
            record, jobs = recorded.get(name), running[name]
            if record is None:
                continue
            if record.desired == "stopped" and not jobs:
                found[name] = Outcome(name, "is stopped", record)
            is_wanted = record.desired == "running" and record.fingerprint == wanted.fingerprint
            if is_wanted and record.starts and [job.id for job in jobs] == [record.flink_job_id]:
                found[name] = Outcome(name, "runs", record, jobs[0].state)
        return found

    def supervise(self, names: Sequence[str] | None = None, accept_gap: bool = False) -> list[Outcome]:
        """Brings jobs to what they should be: all of them, or those named; not those another process is at.

        Args:
            accept_gap: whether a group may begin where its event log lacks messages that Kafka has deleted.
        """
        outcomes = []
        for wanted in self.wanted.values():
            if names is not None and wanted.name not in names:
                continue
            with self.records.only_one(wanted.name) as alone:
                if alone:
                    record = self.records.read().get(wanted.name)
                    outcomes.append(self._supervise(wanted, record, self.flink.jobs([wanted.name]), accept_gap))
        return outcomes

    def stop(self, name: str) -> StreamJob | None:
        """Stops a job with a savepoint; it stays stopped until `start`. None if it was never started."""
        record = self.records.read().get(name)
        if record is None:
            return None
        alive = self.flink.jobs([name])
        for job in alive:
            path = self._halt(job)
            record = self.records.note(record, state_path=path)
        if not alive:
            self.flink.release(name)
        return self.records.note(record, desired="stopped")

    def start(self, name: str, accept_gap: bool = False) -> list[Outcome]:
        """Lets a job run that was stopped or never started."""
        record = self.records.read().get(name)
        if record is not None:
            self.records.note(record, desired="running")
        return self.supervise([name], accept_gap)

    def _supervise(
        self, wanted: Wanted, record: StreamJob | None, running: Sequence[RunningJob], accept_gap: bool
    ) -> Outcome:
        alive = self._only_one(wanted.name, record, running)
        if record is not None and record.desired == "stopped":
            if alive is not None:
                record = self.records.note(record, state_path=self._halt(alive))
                return Outcome(wanted.name, "stopped", record)
            return Outcome(wanted.name, "is stopped", record)
        if record is None:
            return Outcome(wanted.name, "started", self._submit(wanted, self._first_start(wanted, accept_gap), "", 0))
        if alive is not None and record.fingerprint == wanted.fingerprint:
            path = newest_state(self.settings.flink_state, alive.id) or record.state_path
            did: Did = "runs" if record.starts else "started"  # by a call that was killed before it could note it
            return Outcome(wanted.name, did, self.records.note(record, state_path=path, starts=max(record.starts, 1)))
        if alive is not None:
            record = self.records.note(record, state_path=self._halt(alive))
        if record.state_fingerprint != wanted.state_fingerprint:
            return Outcome(
                wanted.name, "begun anew", self._submit(wanted, self._first_start(wanted, accept_gap), "", 0)
            )
        if alive is not None:
            submitted = self._submit(wanted, _start(record), record.state_path, record.starts)
            return Outcome(wanted.name, "redeployed", submitted)
        self.flink.release(wanted.name)
        path = newest_state(self.settings.flink_state, record.flink_job_id) or record.state_path
        submitted = self._submit(wanted, _start(record), path, record.starts)
        return Outcome(wanted.name, "resumed" if record.starts else "started", submitted)

    def _only_one(self, name: str, record: StreamJob | None, running: Sequence[RunningJob]) -> RunningJob | None:
        """The job of a name that is recorded; others, which nobody should have started, are ended."""
        ours = [job for job in running if record is not None and job.id == record.flink_job_id]
        for job in running:
            if job not in ours:
                self.flink.cluster_of(name).cancel(job.id)
        return ours[0] if ours else None

    def _first_start(self, wanted: Wanted, accept_gap: bool) -> Start:
        stream = wanted.stream
        kept = self.topics.offsets(stream.topic)  # a job without its topic is not started
        if wanted.plan is None:
            return Start()
        read_by_log = self.topics.committed(consumer_group(log_name(stream)), stream.topic, list(kept))
        return take_over(self.catalog, wanted.plan, kept, read_by_log, accept_gap)

    def _submit(self, wanted: Wanted, start: Start, state_path: str, starts: int) -> StreamJob:
        """Records a job and starts it; what it writes to is made first.

        The record is there before the job, with the id that the job will have: whoever looks after a crash in between
        finds the job, or its checkpoints, and starts no second one. `starts` counts when Flink has taken it.
        """
        self._prepare(wanted)
        record = self.records.write(
            StreamJob(
                name=wanted.name,
                desired="running",
                fingerprint=wanted.fingerprint,
                state_fingerprint=wanted.state_fingerprint,
                start=asdict(start),
                flink_job_id=secrets.token_hex(16),
                state_path=state_path,
                starts=starts,
            )
        )
        config = wanted.config(self.settings.flink_state) | {_JOB_ID: record.flink_job_id}
        if state_path:
            config["execution.state-recovery.path"] = state_path
        self.flink.submit(wanted.job(target_of(self.settings), start), config)
        return self.records.note(record, starts=starts + 1)

    def _prepare(self, wanted: Wanted) -> None:
        ensure_dead_letters(self.catalog)
        ensure_log(self.catalog, wanted.stream)
        if wanted.plan is not None:
            ensure_table(self.catalog, wanted.plan.schema)
            partitions = len(self.topics.offsets(wanted.stream.topic))
            self.topics.ensure(updates_topic(wanted.plan.schema), partitions)

    def _halt(self, job: RunningJob) -> str:
        """Stops a job with a savepoint, in a folder that tells whose it is."""
        path = self.flink.cluster_of(job.name).stop(job.id, f"{self.settings.flink_state}/savepoints/{job.id}")
        self.flink.release(job.name)
        return path


def target_of(settings: Settings) -> Target:
    """Where jobs read and write; without passwords, which Flink's processes find in files of their machines."""
    return Target(
        kafka=KafkaAddress.parse(settings.kafka_servers).java_options(f"{settings.flink_secrets}/{KAFKA_FILE}"),
        kernel_jar=settings.flink_kernel or str(settings.kernel_jar),
        catalog={
            "catalog-impl": "org.apache.iceberg.jdbc.JdbcCatalog",
            "uri": settings.jdbc_url("iceberg"),
            "jdbc.user": settings.pg_user,
            "jdbc.schema-version": "V1",
            "warehouse": settings.warehouse,
        },
    )


def open_streams(settings: Settings, catalog: Catalog, registry: Registry, plans: Mapping[str, GroupPlan]) -> Streams:
    """The streams of a project.

    Raises:
        StackError: if the stack runs without Kafka and Flink.
    """
    return Streams(settings, catalog, StreamJobs(registry.engine), wanted_jobs(plans.values()))


def newest_state(folder: str, job_id: str) -> str:
    """The URL of a job's newest complete checkpoint or savepoint below a folder (a URL); empty if it has none.

    Found where it lies, and not asked of Flink, which forgets its jobs when the JobManager is killed; nor of those who
    asked for a savepoint, who may have been killed before they noted it. A state is complete when its `_metadata` is
    there; to go on from an older one would write rows again.
    """
    found = {}
    for kind in ("checkpoints", "savepoints") if job_id else ():
        store, path = fs.FileSystem.from_uri(f"{folder}/{kind}/{job_id}")
        for info in store.get_file_info(fs.FileSelector(path, allow_not_found=True)):
            done = store.get_file_info(f"{info.path}/_metadata")
            if done.type == fs.FileType.File:
                found[f"{folder}/{kind}/{job_id}/{info.base_name}"] = done.mtime_ns
    return max(found, key=lambda url: found[url]) if found else ""


def _start(record: StreamJob) -> Start:
    given: dict[str, Any] = dict(record.start)
    offsets = given.get("offsets")
    given["offsets"] = None if offsets is None else {int(number): offset for number, offset in offsets.items()}
    return Start(**given)
