"""Keeping Flink as the definitions want it: start what is missing, resume what fell, redeploy what changed.

A changed job is prepared and translated while the old one runs. The old one then stops with a savepoint, and the
registry keeps what Flink was given for it until all tasks of the new one run. A new job that does not come up is
cancelled, and the old one goes on from the savepoint: a bad definition costs freshness for some seconds, and an alert.
"""

from __future__ import annotations

import secrets
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from pyarrow import fs
from pyiceberg.catalog import Catalog

from feature_store.compile.flink import FlinkJob, Start, Step, Target, consumer_group, log_name, updates_topic
from feature_store.errors import FeatureStoreError, NotFoundError, StackError
from feature_store.kafka_address import KafkaAddress
from feature_store.offline.catalog import POSTGRES_RESTARTS
from feature_store.offline.tables import ensure_table
from feature_store.plan.nodes import GroupPlan
from feature_store.registry.store import Registry
from feature_store.registry.streams import StreamJob, StreamJobs
from feature_store.secret_files import KAFKA_FILE
from feature_store.settings import Settings
from feature_store.streaming.cluster import JobHealth, RunningJob
from feature_store.streaming.deployment import deployment
from feature_store.streaming.offsets import message_gap, write_start
from feature_store.streaming.tables import ensure_dead_letters, ensure_log
from feature_store.streaming.takeover import take_over
from feature_store.streaming.topics import Topics
from feature_store.streaming.wanted import Wanted, wanted_jobs

COME_UP_SECONDS = 600.0
"""How long a changed job may take to restore its state before the old one goes on."""
_JOB_ID = "$internal.pipeline.job-id"  # Flink then refuses to start it twice
_STATE = "execution.state-recovery.path"
Did = Literal["runs", "started", "resumed", "redeployed", "begun anew", "kept", "stopped", "is stopped"]
"""What was done; "kept": the job before the change goes on, because the changed one did not come up."""


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
            is_running = record.desired == "running" and [job.id for job in jobs] == [record.flink_job_id]
            if is_running and record.starts and not record.previous and record.answers(wanted.fingerprint):
                did: Did = "kept" if record.is_instead_of(wanted.fingerprint) else "runs"
                found[name] = Outcome(name, did, record, jobs[0].state)
        return found

    def supervise(self, names: Sequence[str] | None = None, accept_gap: bool = False) -> list[Outcome]:
        """Brings jobs to what they should be: all of them, or those named; not those another process is at.

        Args:
            accept_gap: whether a job may begin, or go on, although Kafka has deleted messages that it needs.
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

    def failure(self, outcome: Outcome) -> FeatureStoreError:
        """Why a job fails again and again that `settled` has found."""
        name = outcome.name
        gap = message_gap(self.topics, self.wanted[name])
        if gap is not None:
            return gap
        cause = self.flink.cluster_of(name).last_failure(outcome.record.flink_job_id)
        return StackError(
            f"the job fails again and again: {outcome.state}: {cause}",
            where=f"job {name}",
            remedy="correct the cause; Flink goes on trying",
            code="job-failing",
        )

    def stop(self, name: str) -> StreamJob | None:
        """Stops a job with a savepoint; it stays stopped until `start`. None if it was never started."""
        record = self.records.read().get(name)
        if record is None:
            return None
        alive = self.flink.jobs([name])
        for job in alive:
            path = self._halt(job)
            record = self.records.note(record, state_path=path, previous={})
        if not alive:
            self.flink.release(name)
        return self.records.note(record, desired="stopped")

    def start(self, name: str, accept_gap: bool = False) -> list[Outcome]:
        """Lets a job run that was stopped or never started; tries again what did not come up."""
        record = self.records.read().get(name)
        if record is not None:
            self.records.note(record, desired="running", refused="", message="")
        return self.supervise([name], accept_gap)

    def _supervise(
        self, wanted: Wanted, record: StreamJob | None, running: Sequence[RunningJob], accept_gap: bool
    ) -> Outcome:
        alive = self._only_one(wanted.name, record, running)
        if record is not None and record.desired == "stopped":
            if alive is not None:
                record = self.records.note(record, state_path=self._halt(alive), previous={})
                return Outcome(wanted.name, "stopped", record)
            return Outcome(wanted.name, "is stopped", record)
        if record is None:
            begin = self._first_start(wanted, accept_gap)
            return Outcome(wanted.name, "started", self._submit(wanted, begin, accept_gap))
        if alive is not None and accept_gap and self._stands_at_gap(wanted, record):
            self.flink.cluster_of(wanted.name).cancel(alive.id)
            alive = None
        if record.previous:
            unsettled = self._watch(wanted, record, alive, accept_gap)
            if unsettled is not None:
                return unsettled
            record = self.records.note(record, previous={})
        if not record.answers(wanted.fingerprint):
            return self._replace(wanted, record, alive, accept_gap)
        if alive is None:
            return self._resume(wanted, record, accept_gap)
        path = newest_state(self.settings.flink_state, alive.id) or record.state_path
        did: Did = "runs" if record.starts else "started"  # by a call that was killed before it could note it
        noted = self.records.note(record, state_path=path, starts=max(record.starts, 1))
        return Outcome(wanted.name, "kept" if record.is_instead_of(wanted.fingerprint) else did, noted)

    def _resume(self, wanted: Wanted, record: StreamJob, accept_gap: bool) -> Outcome:
        """Goes on with a job that has ended, from its newest state."""
        if record.starts:
            self._refuse_gap(wanted, accept_gap)
        self.flink.release(wanted.name)
        path = newest_state(self.settings.flink_state, record.flink_job_id) or record.state_path
        if record.is_instead_of(wanted.fingerprint):
            return Outcome(wanted.name, "kept", self._launch(wanted, replace(record, state_path=path)))
        submitted = self._submit(wanted, _start(record), accept_gap, replace(record, state_path=path))
        return Outcome(wanted.name, "resumed" if record.starts else "started", submitted)

    def _refuse_gap(self, wanted: Wanted, accepted: bool) -> None:
        gap = None if accepted else message_gap(self.topics, wanted)
        if gap is not None:
            raise gap

    def _stands_at_gap(self, wanted: Wanted, record: StreamJob) -> bool:
        """Whether a job does not get on, as Kafka may forget the place where a job was."""
        health = self._health(record)
        return message_gap(self.topics, wanted) is not None or (health is not None and health.stage == "failing")

    def _replace(self, wanted: Wanted, record: StreamJob, alive: RunningJob | None, accept_gap: bool) -> Outcome:
        """Puts a changed job in the place of one that is not touched before Flink has translated the new one."""
        is_new = record.state_fingerprint != wanted.state_fingerprint
        start = self._first_start(wanted, accept_gap) if is_new else _start(record)
        if alive is not None:
            self._prepare(wanted)
            self.flink.check(wanted.job(target_of(self.settings), start), wanted.config(self.settings.flink_state))
            path = self._halt(alive)
        else:
            if not is_new:
                self._refuse_gap(wanted, accept_gap)
            self.flink.release(wanted.name)
            path = newest_state(self.settings.flink_state, record.flink_job_id) or record.state_path
        record = self.records.note(record, state_path=path, refused="", message="")
        try:
            submitted = self._submit(wanted, start, accept_gap, None if is_new else record, record)
        except StackError as error:
            replacing = self.records.read()[wanted.name]
            if not replacing.previous or not self._answers(wanted.name):
                raise
            return self._go_back(replacing, str(error))
        return Outcome(wanted.name, "begun anew" if is_new else "redeployed", submitted)

    def _watch(self, wanted: Wanted, record: StreamJob, alive: RunningJob | None, accept_gap: bool) -> Outcome | None:
        """Looks whether a job has come up that replaced another, which goes on if not; None if it has.

        Also None of one that has ended and is to be replaced in its turn.
        """
        health = self._health(record)
        if health is not None and health.stage == "failing":
            return self._go_back(record, health.cause)
        if alive is not None and health is not None and health.stage == "up":
            return None
        if time.time() > record.previous["replaced_at"] + COME_UP_SECONDS:
            return self._go_back(record, f"it has not come up within {COME_UP_SECONDS:.0f} s")
        if alive is None:
            return self._resume(wanted, record, accept_gap) if record.fingerprint == wanted.fingerprint else None
        return Outcome(wanted.name, "redeployed", record)

    def _go_back(self, record: StreamJob, cause: str) -> Outcome:
        """Lets the job go on that another one was to replace, from the savepoint that it stopped with."""
        for job in self.flink.jobs([record.name]):
            self.flink.cluster_of(record.name).cancel(job.id)
        self.flink.release(record.name)
        before = {name: value for name, value in record.previous.items() if name != "replaced_at"}
        message = f"the changed job does not come up, the one before goes on: {cause}"
        old = StreamJob(**{**before, "refused": record.fingerprint, "message": message})
        return Outcome(record.name, "kept", self._launch(self.wanted[record.name], old))

    def _health(self, record: StreamJob) -> JobHealth | None:
        """None of a job that Flink does not know: it was killed, or its cluster is not there yet."""
        try:
            return self.flink.cluster_of(record.name).health(record.flink_job_id)
        except NotFoundError:
            return None
        except StackError:
            if self.settings.flink_deploy:
                return None
            raise

    def _answers(self, name: str) -> bool:
        """Whether Flink can be reached, so that what failed is the job's own."""
        try:
            self.flink.jobs([name])
        except StackError:
            return False
        return True

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
        ensure_log(self.catalog, stream)
        if wanted.plan is None:
            return Start()
        read_by_log = self.topics.committed(consumer_group(log_name(stream)), stream.topic, list(kept))
        return take_over(self.catalog, wanted.plan, kept, read_by_log, accept_gap)

    def _submit(
        self,
        wanted: Wanted,
        start: Start,
        accept_gap: bool,
        resumed: StreamJob | None = None,
        replaced: StreamJob | None = None,
    ) -> StreamJob:
        """Records a job and starts it; what it writes to is made first.

        Args:
            accept_gap: whether it may skip, until it is started again, what Kafka has deleted.
            resumed: whose state it goes on from.
            replaced: what goes on if it does not come up.
        """
        self._prepare(wanted)
        job = wanted.job(target_of(self.settings), replace(start, skip_deleted=accept_gap))
        previous = dict(resumed.previous) if resumed is not None else {}
        if replaced is not None and replaced.starts:
            previous = {**asdict(replaced), "replaced_at": time.time()}
        return self._launch(
            wanted,
            StreamJob(
                name=wanted.name,
                desired="running",
                fingerprint=wanted.fingerprint,
                state_fingerprint=wanted.state_fingerprint,
                start=asdict(start),
                state_path=resumed.state_path if resumed is not None else "",
                starts=resumed.starts if resumed is not None else 0,
                texts={**asdict(job), "config": wanted.config(self.settings.flink_state)},
                previous=previous,
            ),
        )

    def _launch(self, wanted: Wanted, job: StreamJob) -> StreamJob:
        """Records a job and has Flink start it with the texts of the record.

        The record is there before the job, with the id that the job will have: whoever looks after a crash in between
        finds the job, or its checkpoints, and starts no second one. `starts` counts when Flink has taken it.
        """
        write_start(self.topics, wanted, _start(job), has_state=bool(job.state_path))
        record = self.records.write(replace(job, flink_job_id=secrets.token_hex(16)))
        steps = tuple(Step(**step) for step in record.texts["steps"])
        config = {**record.texts["config"], _JOB_ID: record.flink_job_id}
        if record.state_path:
            config[_STATE] = record.state_path
        self.flink.submit(FlinkJob(record.name, steps, tuple(record.texts["inserts"])), config)
        return self.records.note(record, starts=record.starts + 1)

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
            "retryable_status_codes": POSTGRES_RESTARTS,
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
