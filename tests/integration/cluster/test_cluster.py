"""Spark on a real cluster, with the warehouse in a bucket: the rows of Spark on this machine, computed elsewhere."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
from redis import Redis

from feature_store.offline.catalog import open_catalog
from feature_store.offline.maintenance import Retention
from feature_store.online.materialize import materialize
from feature_store.online.reader import OnlineReader
from feature_store.pit.dataset import build_training_dataset
from feature_store.pit.semantics import LABEL_TIMESTAMP
from feature_store.plan.build import build_plan
from feature_store.settings import Settings
from tests.integration.cluster import runs
from tests.integration.cluster.driver import Driver
from tests.integration.cluster.own_bucket import BUCKET, CREDENTIALS, Bucket
from tests.integration.cluster.own_spark import SparkCluster
from tests.integration.offline_setting import Shop, day, event
from tests.integration.online_setting import view_of
from tests.integration.test_maintenance import filled, values
from tests.unit.pit.pit_cases import group

THERE, HERE = "user_there", "user_here"


def test_python_runs_on_the_workers_which_get_this_package(driver: Driver, cluster: SparkCluster) -> None:
    found = driver.call(runs.workers)
    executors = {executor.pid for executor in cluster.executors().values()}
    homes = [{parent.pid for parent in psutil.Process(pid).parents()} & executors for pid, _ in found]
    assert len(executors) == 2
    assert set.union(*homes) == executors, "both executors have Python workers"
    assert all(homes), "none is the driver's"
    assert all(".zip/feature_store/" in place for _, place in found)


def test_a_backfill_by_the_kernel_has_the_rows_of_this_machine(
    driver: Driver, here: Shop, bucket: Bucket, event_log: Path
) -> None:
    driver.call(runs.run, THERE, 0, runs.DAYS)
    runs.run(here, HERE, 0, runs.DAYS)
    assert runs.stored(here, HERE) == here.expected(runs.windowed(here, HERE), day(0), day(runs.DAYS))
    assert driver.call(runs.stored, THERE) == runs.stored(here, HERE)
    assert any(f"/{THERE}_v1/data/" in key for key in bucket.names())
    assert not list(here.settings.home.glob(f"warehouse/**/{THERE}*"))
    assert kernel_tasks(event_log) == {"0", "1"}, "the kernel ran on both workers"


def test_late_rows_are_found_and_computed_again(driver: Driver, here: Shop) -> None:
    here.write([*runs.many_events(), event("user_3", 50, 1e6), event("late", 75, 2.0)])
    there = driver.call(runs.run, THERE, runs.DAYS, runs.DAYS + 1)
    assert there == runs.run(here, HERE, runs.DAYS, runs.DAYS + 1)
    assert there, "there are late rows"
    for first, last in there:
        span = (first - day(0)).days, (last - day(0)).days
        driver.call(runs.run, THERE, *span)
        runs.run(here, HERE, *span)
    found = driver.call(runs.stored, THERE)
    assert found == runs.stored(here, HERE)
    assert max(row["user_max_all_time"] for row in found) == 1e6


def test_maintenance_leaves_the_rows_and_nothing_else_in_the_bucket(
    driver: Driver, in_bucket: Settings, bucket: Bucket
) -> None:
    with open_catalog(in_bucket) as catalog:
        table = filled(catalog, replace(group("kept", buckets=2), version=7000), 8)
        before = values(table)
        stray = f"{table.location()}/data/of-nobody.parquet"
        with table.io.new_output(stray).create() as file:
            file.write(b"a run died before it committed this")
        bucket.make_older(stray.removeprefix(f"s3://{BUCKET}/"), Retention().orphans + timedelta(hours=1))
        done = driver.call(runs.upkeep, ".".join(table.name()))
        assert (done.before.files, done.rewritten, done.after.files) == (8, 6, 3), "of a bucket with four files or more"
        assert (done.before.snapshots, done.after.snapshots, done.orphans) == (8, 1, 1)
        assert values(table) == before  # reads the table anew
        known = {task.file.file_path for task in table.scan().plan_files()}
        objects = {f"s3://{BUCKET}/{name}" for name in bucket.names()}
        assert {each for each in objects if each.startswith(f"{table.location()}/data/")} == known


def test_online_vectors_and_training_datasets_come_from_the_bucket(
    here: Shop, in_bucket: Settings, redis: Redis, reader: OnlineReader, tmp_path: Path
) -> None:
    there, beside = (build_plan(runs.windowed(here, name)).schema for name in (THERE, HERE))
    loaded = [materialize(place, redis, schema) for place, schema in ((in_bucket, there), (here.settings, beside))]
    assert loaded[0].entities == loaded[1].entities == len(runs.USERS) + 1
    users = [{"user_id": user} for user in (*runs.USERS, "late", "nobody")]
    vectors = [reader.read(view_of(schema), users).to_dicts() for schema in (there, beside)]
    assert vectors[0] == vectors[1]
    assert vectors[0][3]["user_max_all_time"] == 1e6

    labels = [{**user, LABEL_TIMESTAMP: day(n) + timedelta(hours=7)} for user in users for n in range(runs.DAYS)]
    datasets = [
        build_training_dataset(replace(place, home=tmp_path), view_of(schema), labels, name=schema.name)
        for place, schema in ((in_bucket, there), (here.settings, beside))
    ]
    assert datasets[0].table.equals(datasets[1].table)
    assert datasets[0].null_rates == datasets[1].null_rates
    assert 0 < datasets[0].null_rates["user_max_all_time"] < 0.5


def test_credentials_stand_in_no_argument_and_in_no_file(
    driver: Driver, cluster: SparkCluster, bucket: Bucket, event_log: Path
) -> None:
    driver.call(runs.workers)
    mine = [psutil.Process(), *(psutil.Process(worker.pid) for worker in (cluster.master, *cluster.workers))]
    arguments = [arguments_of(child) for process in mine for child in (process, *process.children(recursive=True))]
    assert any("org.apache.spark.deploy.SparkSubmit" in words for words in arguments), "the driver is looked at"
    files = [*event_log.iterdir(), *(bucket.folder.rglob("binaryData")), *cluster.master.log.parent.rglob("std*")]
    files += [cluster.master.log, *(worker.log for worker in cluster.workers)]
    secrets = [secret.encode() for secret in CREDENTIALS.values()]
    assert not [words for words in arguments if any(secret in " ".join(words).encode() for secret in secrets)]
    assert not [file for file in files if any(secret in file.read_bytes() for secret in secrets)]
    assert len(files) > 10


def arguments_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:  # it has just ended
        return []


def kernel_tasks(event_log: Path) -> set[str]:
    """The ids of the executors that gave rows to Python and got rows back."""
    found: set[str] = set()
    for line in next(event_log.iterdir()).read_text(encoding="utf-8").splitlines():
        event: dict[str, Any] = json.loads(line)
        if event["Event"] == "SparkListenerTaskEnd":
            measured = {each.get("Name"): each.get("Update") for each in event["Task Info"]["Accumulables"]}
            if int(measured.get("data returned from Python workers") or 0) > 0:
                found.add(event["Task Info"]["Executor ID"])
    return found
