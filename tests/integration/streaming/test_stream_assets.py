"""Streams in Dagster and on the command line, on the real stack: what the sensors do and report, the jobs, `fs stream`.

The tests of this file are one story in the order they stand: a source, its log and one group, from before they exist to
a job that fails. The jobs are started once.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from feature_assets.keys import log_key, offline_key, online_key, reconcile_key
from feature_assets.stream_jobs import backfill_job
from feature_store.cli import main
from feature_store.errors import StackError
from feature_store.registry.tables import StreamJobRow
from feature_store.settings import Settings
from feature_store.streaming import commands
from feature_store.streaming.cluster import FlinkCluster
from feature_store.streaming.dead_letters import read_dead_letters
from feature_store.streaming.topics import Topics
from sensors.alerts import FailedJobs, Watched, find_problems
from sensors.streams import PROGRESS
from tests.conftest import Eventually
from tests.integration.streaming.stream_project import (
    GROUP,
    LOG,
    PACKAGE,
    PLAN,
    TODAY,
    TOPIC,
    VIEW,
    VISITS,
    YESTERDAY,
    Project,
)


@pytest.fixture(scope="module")
def project(streaming_stack: Settings) -> Iterator[Project]:
    module = ModuleType(PACKAGE)
    module.__dict__.update(GROUP=GROUP, VIEW=VIEW, __file__=__file__, __path__=[])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, PACKAGE, module)
        patch.setattr(commands, "DEFINITIONS", PACKAGE)
        found = Project(streaming_stack)
        found.store.apply(module)
        yield found
        for job in found.streams.flink.jobs(found.streams.wanted):
            found.streams.flink.cluster_of(job.name).cancel(job.id)
        for record in found.streams.records.read().values():
            if record.name in found.streams.wanted:
                found.streams.records.note(record, desired="stopped")
        found.instance.dispose()


def fs(*arguments: str) -> Result:
    answer = CliRunner().invoke(main, ["stream", *arguments])
    gc.collect()  # closes the command's connections, as the end of its process does
    return answer


def test_a_tick_leaves_no_connections(project: Project) -> None:
    def connections() -> int:
        with project.store.registry.engine.connect() as connection:
            return int(connection.execute(sa.text("SELECT count(*) FROM pg_stat_activity")).scalar_one())

    project.tick("stream_freshness")
    before = connections()
    gc.disable()
    try:
        for _ in range(5):
            project.tick("stream_freshness")
        assert connections() <= before + 1, "autovacuum may look in"
    finally:
        gc.enable()


def test_what_is_not_there_yet_skips_the_tick(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Kafka has no topic 'test.visits' -> create it" in str(project.supervise().skip_message)
    assert "no streaming group was started" in str(project.tick("stream_freshness").skip_message)
    status = fs("status")
    assert status.exit_code == 1
    assert status.stdout.count("MISSING") == 2
    assert "not started yet; Dagster's sensor starts it" in status.stdout
    Topics(project.store.settings.kafka_servers).ensure(TOPIC, 1)
    monkeypatch.setenv("FS_FLINK_URL", "http://127.0.0.1:9")
    assert "Flink does not answer" in str(project.supervise().skip_message)


def test_a_job_that_flink_refuses_fails_the_tick(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("FS_FLINK_PYTHON", "/bin/false")
        with pytest.raises(StackError, match="Flink does not take the job"):
            project.supervise()
    assert project.live() == []
    _forget(project, GROUP.id)  # it is to take over from a log that has something


def _forget(project: Project, name: str) -> None:
    """Removes the record of a job that never ran."""
    with project.store.registry.engine.begin() as connection:
        connection.execute(sa.delete(StreamJobRow).where(StreamJobRow.name == name))


def test_the_log_is_started_once_and_reported(project: Project, eventually: Eventually) -> None:
    (outcome,) = project.streams.supervise([LOG])
    assert outcome.did == "started"
    assert project.report().run_requests == []
    early, now = YESTERDAY + timedelta(hours=1), datetime.now(UTC)
    project.send(("ann", early), ("ann", early + timedelta(hours=2)), ("ben", now), ("ann", early + timedelta(hours=1)))
    project.producer.produce(TOPIC, b"{", partition=0)

    def written() -> bool:
        return project.store.catalog.load_table(str(VISITS.log.table)).scan().count() == 4

    eventually(written)

    def has_told_what_was_read() -> bool:
        """Flink's own counts are some seconds old."""
        return any(event.metadata["messages read"].value >= 5 for event in project.report().asset_events)

    eventually(has_told_what_was_read)
    event = project.instance.get_latest_materialization_event(log_key(VISITS))
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert metadata["state"].value == "RUNNING"
    assert project.live() == [LOG]
    assert project.supervise().skip_message == f"{GROUP.id}: started", "nothing is to be done about the log"


def test_the_group_is_started_once_and_its_past_computed_once(project: Project, eventually: Eventually) -> None:
    """The stream takes over at the last midnight; one run computes the days from the first event's to that."""
    record = project.streams.records.read()[GROUP.id]
    cut = int(TODAY.timestamp() * 1e6)
    assert record.start["cut"] == cut
    (first,) = project.report().run_requests
    assert json.loads(project.cursors[PROGRESS] or "")[GROUP.id]["backfilled"]
    assert project.report().run_requests == []
    project.cursors.pop(PROGRESS)  # as somebody may do in Dagster: the run key is the same then
    (asked,) = project.report().run_requests
    assert asked.run_key == first.run_key
    day = f"{YESTERDAY:%Y-%m-%d}"
    assert (asked.job_name, asked.run_key) == (backfill_job(GROUP), f"guest_visits@1 {record.state_fingerprint} "
                                               f"cut {cut} log {record.start['snapshot']} {day} {day}")  # fmt: skip
    tags = {"dagster/asset_partition_range_start": day, "dagster/asset_partition_range_end": day}
    assert {name: asked.tags[name] for name in tags} == tags
    assert sorted(project.live()) == [GROUP.id, LOG]

    assert project.run(backfill_job(GROUP), tags).success
    assert project.instance.get_materialized_partitions(offline_key(GROUP)) == {day}
    assert [row["guest_visit_count_all_time"] for row in project.rows("ann") if row["guest_visit_count_10s"]] == [
        1,
        2,
        3,
    ]
    assert project.online("ann") == 3, "who was active before the cut only is served, too"
    eventually(lambda: project.online("ben") == 1)


def test_progress_is_reported_when_the_watermark_advances(project: Project, eventually: Eventually) -> None:
    def events_of_group() -> list[Any]:
        found = project.report().asset_events
        return [event for event in found if event.asset_key in (offline_key(GROUP), online_key(GROUP))]

    eventually(events_of_group)
    project.send(*[("cid", datetime.now(UTC))] * 50)
    eventually(lambda: project.online("cid") == 50)
    eventually(lambda: project.rows("cid"))
    events: list[Any] = []

    def has_told_the_rate() -> bool:
        """Flink's own counts are some seconds old."""
        events[:] = events_of_group()
        return bool(events and events[0].metadata["messages per second"].value)

    eventually(has_told_the_rate)
    assert [event.asset_key for event in events] == [offline_key(GROUP), online_key(GROUP)]
    assert events[0].partition is None, "today is not over, and yesterday was before the cut"
    metadata = {name: value.value for name, value in events[0].metadata.items()}
    assert metadata["state"] == "RUNNING"
    assert 0 < metadata["watermark age (s)"] < 30
    assert 0 <= metadata["checkpoint age (s)"] < 30
    assert metadata["state bytes"] > 0
    assert metadata["rows written"] > 0
    assert metadata["lag"] >= 0
    assert metadata["restarts"] == 0


def test_a_cancelled_job_is_overdue_until_its_sensor_resumes_it(project: Project, eventually: Eventually) -> None:
    eventually(lambda: project.tick("stream_freshness").skip_message == "1 groups are fresh")
    assert project.checked().passed
    record = project.streams.records.read()[GROUP.id]
    project.streams.flink.cluster_of(GROUP.id).cancel(record.flink_job_id)
    eventually(lambda: project.tick("stream_freshness").asset_events[0].severity.value == "ERROR")
    wrong = project.checked()
    assert not wrong.passed
    assert wrong.metadata["verdict"].value == "overdue"
    assert (wrong.metadata["SLA (s)"].value, wrong.metadata["overdue after (s)"].value) == (10.0, 20.0)
    assert wrong.metadata["age (s)"].value >= 20.0  # to a tenth
    assert "guest_visits@1 was up to date" in str(project.tick("stream_freshness").skip_message)
    assert project.store.online("guests@1", [{"guest_id": "ann"}]).stale == {GROUP.id: True}

    assert project.supervise().skip_message == f"{GROUP.id}: resumed"
    resumed = project.streams.records.read()[GROUP.id]
    assert resumed.starts == 2
    assert resumed.flink_job_id != record.flink_job_id
    assert project.live().count(GROUP.id) == 1
    eventually(lambda: project.tick("stream_freshness").asset_events[0].passed)
    assert project.checked().passed


def test_a_stopped_job_stays_stopped(project: Project, eventually: Eventually) -> None:
    stopped = fs("stop", GROUP.id)
    assert stopped.exit_code == 0, stopped.output
    assert f"{GROUP.id}: stopped, savepoint file:" in stopped.stdout
    assert "stopped on purpose: ./fs stream start" in str(project.supervise().skip_message)
    assert "all were stopped on purpose" in str(project.tick("stream_freshness").skip_message)
    assert project.live() == [LOG]
    status = fs("status")
    assert status.exit_code == 0, status.stdout
    assert "STOPPED" in status.stdout

    assert project.run("stream_start", names=[GROUP.id]).success
    assert sorted(project.live()) == [GROUP.id, LOG]
    again = fs("start", GROUP.id)
    assert f"{GROUP.id}: runs (Flink job" in again.stdout
    eventually(lambda: fs("status").exit_code == 0)
    assert fs("status").stdout.count("RUNNING") == 2


def test_restart_goes_on_from_a_savepoint(project: Project) -> None:
    before = project.streams.records.read()[LOG]
    done = fs("restart", LOG)
    assert done.exit_code == 0, done.output
    after = project.streams.records.read()[LOG]
    assert f"{LOG}: resumed (Flink job {after.flink_job_id})" in done.stdout
    assert "savepoint" in after.state_path
    assert (after.desired, after.starts) == ("running", before.starts + 1)


def test_a_savepoint_that_fails_once_is_tried_again(project: Project) -> None:
    """As it does when a task ends while the savepoint begins; here a file is in the way of the savepoint's folder."""
    record, folder = project.streams.records.read()[LOG], f"{project.store.settings.flink_state}/savepoints"
    obstacle = Path(urlsplit(folder).path) / record.flink_job_id
    obstacle.write_text("")

    class Cluster(FlinkCluster):
        """Removes the obstacle when Flink has said that the savepoint failed."""

        def get(self, path: str) -> Any:
            answer = super().get(path)
            if "failure-cause" in (answer.get("operation") or {}):
                obstacle.unlink()
            return answer

    url = project.streams.flink.cluster_of(LOG).url
    savepoint = Cluster(url).stop(record.flink_job_id, f"{folder}/{record.flink_job_id}")
    (outcome,) = project.streams.supervise([LOG])
    assert outcome.did == "resumed"
    assert urlsplit(outcome.record.state_path).path == urlsplit(savepoint).path


def test_a_savepoint_that_fails_each_time_leaves_the_job_as_it_is(project: Project) -> None:
    before = project.streams.records.read()[LOG]
    obstacle = Path(urlsplit(project.store.settings.flink_state).path) / "savepoints" / before.flink_job_id
    obstacle.write_text("")
    try:
        answer = fs("restart", LOG)
    finally:
        obstacle.unlink()
    assert answer.exit_code == 1
    assert "the savepoint failed" in answer.stderr
    assert "[savepoint]" in answer.stderr
    assert project.streams.records.read()[LOG] == before
    assert sorted(project.live()) == [GROUP.id, LOG]


def test_unknown_names_are_told(project: Project) -> None:
    for command in ("start", "stop", "restart"):
        answer = fs(command, "nobody@1")
        assert answer.exit_code == 1
        assert (
            answer.stderr
            == "fs: there is no stream job 'nobody@1' -> jobs are: 'log of visits', 'guest_visits@1' [unknown-job]\n"
        )
    assert (
        fs("replay", "nothing").stderr == "fs: there is no stream 'nothing' -> streams are: visits [unknown-stream]\n"
    )
    assert "is not an instant" in fs("replay", "visits", "--since", "yesterday").stderr
    assert fs("replay", "visits", "--reason", "bad").exit_code == 2
    failed = project.run("stream_stop", names=["nobody@1"])
    assert not failed.success
    assert sorted(project.live()) == [GROUP.id, LOG]


def test_dead_letters_are_sent_again(project: Project, eventually: Eventually) -> None:
    def letters() -> int:
        return read_dead_letters(project.store.catalog, "visits", "malformed").num_rows

    eventually(lambda: letters() == 1)
    (counted,) = project.tick("dead_letters").asset_events
    assert isinstance(counted, dg.AssetCheckEvaluation)
    assert counted.metadata["malformed (1 h)"].value == 1.0
    assert counted.passed == (counted.metadata["share"].value <= 0.01)
    assert project.tick("dead_letters").asset_events == []
    problems = {problem.key for problem in find_problems(project.instance, Watched.of([PLAN]), FailedJobs())}
    assert ("check source/visits_log:dead_letters" in problems) == (not counted.passed)
    assert "1 malformed" in fs("dead-letters").stdout
    assert fs("replay", "visits", "--dry-run").stdout == "1 dead letters would be sent to their topic again\n"
    done = project.run("stream_replay", source="visits")
    assert done.success
    eventually(lambda: letters() == 2)
    assert f"Dagster run {done.run_id}: 1 malformed replayed, done" in fs("dead-letters").stdout


def test_the_reconcile_finds_the_same_rows(project: Project, eventually: Eventually) -> None:
    """Of yesterday, which batch computed."""
    day = f"{YESTERDAY:%Y-%m-%d}"
    done = project.run("reconcile_streams", {"dagster/partition": day})
    assert done.success
    (event,) = done.asset_materializations_for_node("__".join(reconcile_key(GROUP).path))
    assert event.metadata["consistency"].value == 1.0
    assert event.metadata["consistency of guest_visit_count_10s"].value == 1.0
    (check,) = done.get_asset_check_evaluations()
    assert (check.check_name, check.passed) == ("consistent", True)


def test_a_job_that_fails_again_and_again_fails_the_tick(project: Project, eventually: Eventually) -> None:
    """Here because somebody dropped its table."""
    project.store.catalog.drop_table(PLAN.schema.table)
    project.send(*[("dan", datetime.now(UTC))] * 3)

    def is_red() -> bool:
        try:
            project.supervise()
        except StackError as error:
            return error.code == "job-failing" and "NoSuchTable" in str(error)
        time.sleep(0.1)
        return False

    eventually(is_red)

    def is_explained() -> bool:
        status = fs("status")
        return status.exit_code == 1 and "RESTARTING" in status.stdout and "NoSuchTable" in status.stdout

    eventually(is_explained)
    assert Path(project.store.settings.home).is_dir()
