"""The demo, as a newcomer runs it: `./fs demo` on an empty state folder, with Dagster; again; down."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from demo.dagster_runs import Dagster
from feature_store import stack_file
from feature_store.settings import REPOSITORY, Settings
from feature_store.streaming.cluster import FlinkCluster
from tests.integration import exposed


class Newcomer:
    """A state folder and the commands typed there."""

    def __init__(self, home: Path, jars: Path, flink_python: Path) -> None:
        self.home = home
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FS_", "DAGSTER_"))}
        self.environ = {**kept, "FS_HOME": str(home), "FS_JARS_DIR": str(jars), "COLUMNS": "120"}
        self.environ["FS_FLINK_PYTHON"] = str(flink_python)

    def types(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "feature_store.cli", *words],
            cwd=REPOSITORY, env=self.environ, capture_output=True, text=True, check=False, timeout=1800,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory, jars_folder: Path, flink_python: Path) -> Iterator[Newcomer]:
    newcomer = Newcomer(tmp_path_factory.mktemp("newcomer"), jars_folder, flink_python)
    yield newcomer
    newcomer.types("down")


@pytest.mark.timeout(3600)  # of a machine with other work; alone it takes a sixth of that
def test_the_demo_goes_the_whole_way(newcomer: Newcomer) -> None:
    with exposed.Processes(newcomer.home) as processes:
        first = newcomer.types("demo")
    assert "order_events   73,229" in first or re.search(r"order_events\s+7\d,\d{3}", first)
    assert "applied plan #1" in first
    assert "offline/user_orders/v1" in first
    assert re.search(r"3,\d{3} rows, one for each label", first)
    judged = re.search(r"registered repurchase@1: 6 features of repurchase@1, AUC (0\.\d{3}) on \d{3} labels", first)
    assert judged is not None
    assert 0.65 < float(judged[1]) < 0.95, "orders, age and browsing say much of who buys again, and not all"
    assert re.search(r"user_order_count_all_time\s+\d+\s+\d+\s+\d+", first)
    assert "user_interactions@1: RUNNING, started by its sensor" in first
    assert re.search(r"user_clicks_last_30min +[1-9]", first)
    assert re.search(r"user_time_since_last_purchase +\d+\.\d s", first)
    assert re.search(r"malformed +column 'event_ts': text where", first)
    assert re.search(r"too late +.*\"event_id\": \"late\"", first)
    assert re.search(r"curl -s 'http://\S+/feature-views/ranking/online\S*", first)
    assert re.search(r"1 customer, 100 items +\d+\.\d\d ms", first)
    assert re.search(r"curl -s 'http://\S+/models/repurchase/online\S*", first)
    assert len(re.findall(r"^\d{5} +\d{1,3}% *$", first, re.MULTILINE)) == 3
    assert "Done in" in first

    settings = Settings.load(newcomer.environ)
    dagster = Dagster(settings.dagster_url)
    again = newcomer.types("demo")
    for skipped in ("the shop's data", "the daily partitions", "the hourly partitions", "no feature has changed"):
        assert f"skipped: {skipped}" in again
    assert "nothing to apply" in again
    assert "registered repurchase@1:" in again
    assert "models repurchase registered models repurchase@1" in " ".join(
        newcomer.types("lineage", "repurchase@1").split()
    )
    last_day = re.search(r"the daily partitions (\S+) to (\S+) are there", again)
    assert last_day is not None
    assert dagster.has_partitions(("offline", "user_orders", "v1"), last_day[1], last_day[2])
    assert "user_return_rate_all_time" in newcomer.types("get", "user_orders@1")
    measured = newcomer.types("bench", "serving", "--seconds", "1")
    assert re.search(r"ranking@1 +100 +[1-9]\S* +\d+\.\d\d ms", measured)

    passwords = {settings.pg_password, settings.redis_url.partition("@")[0].rpartition(":")[2]}
    shown = {
        "what ./fs says": first + again + newcomer.types("status"),
        **dict([exposed.dagster_page(settings.dagster_url)]),
        **dict(exposed.flink_answers(FlinkCluster(settings.flink_url))),
        **dict(exposed.server_pages(settings.serving_url)),
    }
    told = [*processes.seen, *shown.items(), *exposed.files(newcomer.home), *exposed.tables(settings)]
    assert any("spark.sql.catalog.fs" in arguments for _, arguments in processes.seen), "Spark was there"
    assert [where for where, text in told for password in passwords if password in text] == []
    assert exposed.open_files(newcomer.home) == []

    record = stack_file.read(newcomer.home)
    assert record is not None
    newcomer.types("down")
    running = [
        service.name for service in record.services if service.process and psutil.pid_exists(service.process.pid)
    ]
    assert running == []
