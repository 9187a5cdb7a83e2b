"""Training jobs on the real registry: one worker at a time, the same again, cancelled, killed, Postgres away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from sqlalchemy import create_engine, text

from feature_store.cli import main
from feature_store.client import FeatureStore
from feature_store.errors import ConflictError, FeatureStoreError, StackError, TokenError
from feature_store.pit.label_sources import LabelQuery, LabelTable
from feature_store.registry.access.store import AccessControl
from feature_store.registry.access.tokens import Principal
from feature_store.registry.training_tables import JobState
from feature_store.settings import REPOSITORY, Settings
from feature_store.training_jobs.discard import discard_dataset
from feature_store.training_jobs.labels import STAGED
from feature_store.training_jobs.request import Asker, FileLabels
from feature_store.training_jobs.service import Asked
from feature_store.training_jobs.target import load_target
from tests.conftest import Eventually
from tests.integration.registry_setting import run
from tests.integration.training_setting import HOUR, NOON, TrainingSetting, label, rows_of

KILLED = """
import sys, time
from feature_store.registry.store import Registry
from feature_store.settings import Settings
from feature_store.training_jobs.worker import TrainingWorker
settings = Settings.load()
def explained(_):
    print("joining", flush=True)
    time.sleep(1_000)
TrainingWorker(settings, Registry(settings.database_url("registry"))).work(sys.argv[1], explained=explained)
"""


@pytest.fixture(scope="module")
def setting(stack: Settings) -> TrainingSetting:
    return TrainingSetting.make(stack)


def staged(setting: TrainingSetting) -> list[Path]:
    return [*Path(setting.store.settings.warehouse.removeprefix("file://"), STAGED).glob("*.parquet")]


def test_a_job_in_this_process_has_a_record_and_the_same_again_is_the_same_job(setting: TrainingSetting) -> None:
    labels = pl.DataFrame([label("ann", y=1), label("bob", y=0)])
    job = setting.store.training_dataset("buyers@1", labels, name="again", model="buyer")
    made = job.wait(60)
    assert rows_of(made) == [3, 0]
    record = job.record()
    assert (record.state, record.progress, record.row_count, record.engine) == ("SUCCEEDED", 1.0, 2, "local")
    assert (record.dataset_id, record.request["model"]) == (made.id, "buyer")
    assert None not in (record.started_at, record.ended_at, record.heartbeat_at)

    again = setting.store.training_dataset("buyers@1", labels.to_dicts(), name="again", model="buyer")
    assert again.id == job.id
    assert again.explain() == made.explanation
    found = setting.store.training_job(job.id).wait()
    assert replace(found, view=made.view) == made
    changed = [
        {"labels": labels.head(1)},
        {"known_by": "label"},
        {"model": "another"},
        {"fresh": True},
        {"time_range": (NOON, NOON + HOUR), "labels": None},
    ]
    others = [
        setting.store.training_dataset("buyers@1", **{"labels": labels, "name": "again", "model": "buyer"} | each)
        for each in changed
    ]
    assert len({job.id, *(other.id for other in others)}) == 1 + len(changed)
    assert [rows_of(other.wait(60)) for other in others] == [[3], [3, 0], [3, 0], [3, 0], [3]]

    setting.write("bob", 5)
    newer = setting.store.training_dataset("buyers@1", labels, name="again", model="buyer")
    assert rows_of(newer.wait(60)) == [3, 5]
    old = setting.store.training_dataset("buyers@1", labels, name="again", model="buyer", snapshots=made.snapshots)
    assert old.id == job.id


def test_a_dataset_that_is_gone_is_made_again(setting: TrainingSetting) -> None:
    job = setting.store.training_dataset("buyers@1", [label("ann")], name="gone")
    discard_dataset(job.wait(60), setting.store.catalog)
    assert (setting.datasets("gone"), setting.tags("gone")) == ([], [])
    again = setting.store.training_dataset("buyers@1", [label("ann")], name="gone")
    assert again.id != job.id
    assert rows_of(again.wait(60)) == [3]


def test_labels_that_change_on_the_way_do_not_count_as_those_that_were_asked_for(
    setting: TrainingSetting, tmp_path: Path
) -> None:
    path = tmp_path / "labels.parquet"
    pl.DataFrame([label("ann")]).write_parquet(path)
    job = setting.submit(FileLabels(str(path)), "changed").job
    before = path.stat()
    pl.DataFrame([label("ann"), label("nobody")]).write_parquet(path)
    assert setting.worker.work(job.id).row_count == 2
    pl.DataFrame([label("ann")]).write_parquet(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    again = setting.submit(FileLabels(str(path)), "changed")
    assert again.is_new
    assert setting.worker.work(again.job.id).row_count == 1


def test_one_of_many_at_once_makes_the_job_and_one_of_many_works_on_it(setting: TrainingSetting) -> None:
    with ThreadPoolExecutor(8) as pool:
        submitted = [*pool.map(lambda _: setting.submit([label("ann")], "race"), range(8))]
        (job_id,) = {each.job.id for each in submitted}
        assert [each.is_new for each in submitted].count(True) == 1
        claims = [*pool.map(lambda _: setting.jobs.claim(job_id), range(8))]
    (claim,) = (each for each in claims if each is not None)
    assert (claim.state, claim.attempt) == ("RUNNING", 1)
    with pytest.raises(ConflictError, match="is RUNNING, and not this worker's to do"):
        setting.worker.work(job_id)
    assert len(staged(setting)) == 1, "the rows of the others are not kept"
    assert setting.jobs.requeue(job_id, 1, "again")
    assert not setting.jobs.beat(job_id, 1, progress=0.5)
    made = setting.worker.work(job_id)
    assert (rows_of(made), staged(setting)) == ([3], [])
    assert not setting.jobs.fail(job_id, 2, {"code": "late"})
    assert setting.jobs.cancel(job_id).state is JobState.SUCCEEDED


def test_a_killed_worker_is_seen_and_another_one_makes_the_dataset(setting: TrainingSetting) -> None:
    job = setting.submit([label("ann"), label("bob")], "killed").job
    command = [sys.executable, "-c", KILLED, job.id]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "joining\n"
        process.send_signal(signal.SIGKILL)
    dead = setting.jobs.get(job.id)
    assert (dead.state, dead.attempt) == ("RUNNING", 1)
    assert setting.service().follow(dead).attempt == 1, "it was heard of just now"
    run(
        setting.store.registry,
        f"UPDATE training_jobs SET heartbeat_at = now() - interval '1 hour', launches = 1 WHERE job_id = '{job.id}'",
    )
    seen = setting.service().follow(setting.jobs.get(job.id))
    assert (seen.state, seen.step) == ("QUEUED", "again: its worker is not heard of any more")
    assert setting.worker.work(job.id).row_count == 2
    assert setting.recorded("killed") == setting.datasets("killed") == [setting.jobs.get(job.id).dataset_id]
    assert len(setting.tags("killed")) == 1


@pytest.mark.parametrize("engine", ["local", "dagster"])
def test_a_job_of_lost_workers_fails(setting: TrainingSetting, engine: Any) -> None:
    """A process of somebody's own cannot be started again; runs are, three times."""
    job = setting.submit([label("ann")], f"lost-{engine}", engine).job
    assert setting.jobs.claim(job.id) is not None
    run(
        setting.store.registry,
        f"UPDATE training_jobs SET heartbeat_at = now() - interval '1 hour', launches = 3 WHERE job_id = '{job.id}'",
    )
    kept = setting.service().follow(setting.jobs.get(job.id), may_be_lost=False)
    assert kept.state is JobState.RUNNING
    with pytest.raises(StackError, match="nobody works on the training job") as raised:
        setting.store.training_job(job.id).wait(60)
    assert raised.value.code == "training-worker-lost"
    again = setting.submit([label("ann")], f"lost-{engine}", engine)
    assert again.is_new
    setting.service().cancel(again.job.id)


def test_cancelled_in_the_middle(setting: TrainingSetting) -> None:
    job = setting.submit([label("ann")], "cancelled").job
    with pytest.raises(ConflictError, match="is CANCELLED"):
        setting.worker.work(job.id, explained=lambda _: setting.service().cancel(job.id))
    assert (setting.datasets("cancelled"), setting.tags("cancelled"), staged(setting)) == ([], [], [])
    with pytest.raises(ConflictError) as raised:
        setting.store.training_job(job.id).wait(60)
    assert raised.value.code == "training-cancelled"


def test_taken_over_in_the_middle(setting: TrainingSetting) -> None:
    job = setting.submit([label("ann")], "taken").job
    with pytest.raises(ConflictError, match="is QUEUED"):
        setting.worker.work(job.id, explained=lambda _: setting.jobs.requeue(job.id, 1, "again"))
    assert (setting.datasets("taken"), setting.tags("taken")) == ([], [])
    assert setting.worker.work(job.id).row_count == 1


@contextmanager
def postgres_away(settings: Settings) -> Iterator[None]:
    """No database that the job needs lets anybody in, and whoever was in is out."""
    server = create_engine(settings.database_url("postgres"), isolation_level="AUTOCOMMIT")
    names = ("registry", "iceberg")
    with server.connect() as connection:
        for name in names:
            connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
            connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"))
        try:
            yield
        finally:
            for name in names:
                connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
    server.dispose()


def test_postgres_gone_for_a_moment(setting: TrainingSetting, eventually: Eventually) -> None:
    job = setting.submit([label("ann"), label("ann")], "outage").job
    away, is_away, first = postgres_away(setting.store.settings), threading.Event(), threading.Event()

    def joining(_: object) -> None:
        if not first.is_set():
            first.set()
            away.__enter__()
            is_away.set()

    def back() -> None:
        is_away.wait()
        with pytest.raises(FeatureStoreError, match="does not answer"):
            setting.jobs.get(job.id)
        away.__exit__(None, None, None)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(back)
        made = setting.worker.work(job.id, explained=joining)
        done.result()
    assert rows_of(made) == [3, 3]
    assert setting.jobs.get(job.id).state is JobState.SUCCEEDED
    assert setting.recorded("outage") == setting.datasets("outage") == [made.id]
    assert len(setting.tags("outage")) == 1


def test_a_token_that_was_revoked_meanwhile(setting: TrainingSetting) -> None:
    access = AccessControl(setting.store.registry.engine)
    token = access.create_token("passing", Principal.parse("team:guests"), "tests").token
    target = load_target(setting.store.registry, "view", "buyers@1")
    asked = Asked([label("ann")], "revoked")
    job = setting.service().submit(target, asked, "dagster", token=Asker(token.id, token.name)).job
    masked = (
        setting.service()
        .submit(target, asked, "dagster", token=Asker(token.id, token.name), masked=frozenset(["buyer_email"]))
        .job
    )
    assert masked.id != job.id
    made = setting.worker.work(masked.id)
    assert (made.masked, made.table["buyer_email"].to_pylist()) == (("buyer_email",), [None])
    access.revoke_token("passing", "tests")
    with pytest.raises(TokenError, match="was revoked"):
        setting.worker.work(job.id)
    assert (setting.jobs.get(job.id).error or {})["code"] == "token-revoked"


def test_so_many_jobs_of_a_token_at_once(setting: TrainingSetting) -> None:
    target, jobs = load_target(setting.store.registry, "view", "buyers@1"), []
    for number in range(2):
        asked = Asked([label("ann")], f"quota-{number}")
        jobs.append(setting.service(2).submit(target, asked, "dagster", token=Asker(-1, "busy")).job)
    with pytest.raises(StackError, match="2 training datasets of this token are in the making") as raised:
        setting.service(2).submit(target, Asked([label("ann")], "quota-2"), "dagster", token=Asker(-1, "busy"))
    assert raised.value.code == "training-quota"
    other = setting.service(2).submit(target, Asked([label("ann")], "quota-2"), "dagster", token=Asker(-2, "idle")).job
    for job in (*jobs, other):
        setting.service().cancel(job.id)
    assert staged(setting) == []


WRONG: list[tuple[Any, str, str]] = [
    ([{**label("ann"), "label_timestamp": NOON.replace(tzinfo=None)}], "naive-timestamp", "'label_timestamp'"),
    ([{"label_timestamp": NOON}], "missing-column", "'buyer_id'"),
    ([{**label("ann"), "buyer_id": 5}], "wrong-type", "'buyer_id'"),
    ([{**label("ann"), "buyer_count": 5}], "name-collision", "'buyer_count'"),
    ([], "no-labels", "labels"),
    ("nowhere/*.parquet", "unreadable-labels", "nowhere"),
    ("nowhere.labels", "unreadable-labels", "nowhere.labels"),
    (LabelTable("registry.public.nothing"), "unreadable-labels", "registry.public.nothing"),
    (LabelTable("registry.public.grants"), "missing-column", "'buyer_id'"),
    (LabelTable("x.y.z", "postgresql://fs:secret-word@127.0.0.1:1"), "unreadable-labels", "x.y.z"),
    (LabelQuery("SELECT * FROM t", {"t": "nowhere/*.csv"}), "unreadable-labels", "nowhere"),
]


@pytest.mark.parametrize(("labels", "code", "where"), WRONG, ids=lambda each: each if isinstance(each, str) else "")
@pytest.mark.parametrize("engine", ["local", "dagster"])
def test_wrong_labels_are_refused_before_there_is_a_job(
    setting: TrainingSetting, labels: Any, code: str, where: str, engine: Any
) -> None:
    before = len(setting.jobs.find())
    with pytest.raises(FeatureStoreError) as raised:
        setting.store.training_dataset("buyers@1", labels, name="wrong", engine=engine)
    needs_process = engine == "dagster" and isinstance(labels, LabelTable) and labels.server
    assert raised.value.code == ("labels-of-process" if needs_process else code)
    assert needs_process or where in raised.value.where
    assert "secret-word" not in str(raised.value)
    assert (len(setting.jobs.find()), staged(setting)) == (before, [])


def test_odd_label_times_are_told_with_their_counts(setting: TrainingSetting) -> None:
    labels = [label("ann", NOON - 400 * 24 * HOUR), label("ann", NOON + 40_000 * 24 * HOUR), label("ann")]
    warnings = setting.store.training_dataset("buyers@1", labels, name="odd").wait(60).warnings
    assert ["1 of 3 labels" in warning for warning in warnings] == [True, True], warnings


def test_a_group_by_itself(setting: TrainingSetting) -> None:
    job = setting.store.training_dataset("buyer_facts@1", [label("ann")], name="alone", kind="group", model="solo")
    made = job.wait(60)
    assert rows_of(made) == [3]
    (record,) = (each for each in setting.store.registry.lineage("buyer_facts@1").training if each.id == made.id)
    assert (record.kind, record.view) == ("group", "buyer_facts@1")
    assert {used.model for used in setting.store.registry.usage("buyer_facts@1", kind="group")} == {"solo"}


def test_without_dagster_the_job_says_so(setting: TrainingSetting) -> None:
    job = setting.store.training_dataset("buyers@1", [label("ann")], name="nowhere", engine="dagster")
    waiting = job.record()
    assert (waiting.state, waiting.launches) == ("QUEUED", 0)
    assert waiting.step.startswith("wait for Dagster: Dagster does not answer")
    run(
        setting.store.registry,
        f"UPDATE training_jobs SET created_at = now() - interval '1 hour' WHERE job_id = '{job.id}'",
    )
    with pytest.raises(StackError, match="Dagster does not answer"):
        job.wait(60)

    store = FeatureStore(replace(setting.store.settings, dagster_url=""), token="")
    with pytest.raises(StackError, match="it is not known where Dagster is") as raised:
        store.training_dataset("buyers@1", [label("ann")], name="nowhere", engine="dagster").wait(60)
    assert raised.value.code == "no-dagster"
    assert staged(setting) == []


def test_the_command_makes_the_same_jobs(setting: TrainingSetting, tmp_path: Path) -> None:
    labels, out = tmp_path / "labels.parquet", tmp_path / "rows.parquet"
    pl.DataFrame([label("ann", y=1), label("nobody", y=0)]).write_parquet(labels)
    command = ["train", "buyers@1", "--labels", str(labels), "--name", "command", "--model", "buyer"]
    done = CliRunner().invoke(main, [*command, "--out", str(out)])
    assert done.exit_code == 0, done.output
    record = setting.jobs.get(done.stdout.strip())
    assert (record.state, record.engine, record.row_count) == ("SUCCEEDED", "local", 2)
    assert "2 rows in" in done.stderr
    rows = pl.read_parquet(out)
    assert (rows["y"].to_list(), rows["buyer_count"].to_list()) == ([1, 0], [3, 0])
    again = CliRunner().invoke(main, [*command, "--known-by", "label", "--out", str(tmp_path / "rows.csv")])
    assert again.stdout.strip() not in ("", record.id)
    assert pl.read_csv(tmp_path / "rows.csv")["y"].to_list() == [1, 0]
    assert CliRunner().invoke(main, command).stdout.strip() == record.id
    for wrong in (["--no-wait"], ["--out", str(tmp_path / "nowhere" / "rows.csv")], ["--out", "rows.txt"]):
        refused = CliRunner().invoke(main, [*command, *wrong])
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert "[train-options]" in refused.stderr
