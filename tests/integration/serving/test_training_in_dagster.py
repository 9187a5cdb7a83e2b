"""Training datasets over HTTP, made by real runs of Dagster: from the request to the rows; killed, cancelled."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psutil
import pyarrow as pa
import pytest
import sqlalchemy as sa

from feature_store.client import FeatureStore
from feature_store.datasets.dataset import load_dataset
from feature_store.dsl.collect import Project, load_project
from feature_store.offline.tables import arrow_schema, ensure_table
from feature_store.plan.build import build_plan
from feature_store.registry.training_jobs import TrainingJobs
from feature_store.settings import Settings
from feature_store.training_jobs.runs import TrainingRuns
from tests.conftest import Eventually
from tests.integration.registry_setting import run
from tests.integration.serving.dagster_process import RunningDagster, asked, running_dagster
from tests.integration.serving.server_process import ServerProcess

VIEW = "repurchase@1"
PATH = f"/feature-views/{VIEW}/training-dataset"
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
MATERIALIZED = """query ($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
    assetMaterializations { partition metadataEntries { label ... on IntMetadataEntry { intValue } } } } } }"""


@dataclass(frozen=True)
class Setting:
    """A server, the Dagster that works for it, and what both know."""

    server: ServerProcess
    dagster: RunningDagster
    store: FeatureStore

    def ask(self, *users: str, name: str = "again") -> Any:
        labels = [{"user_id": user, "label_timestamp": "2026-03-02T12:00:00Z", "y": place % 2 == 0}
                  for place, user in enumerate(users)]  # fmt: skip
        answer = self.server.post(PATH, {"name": name, "labels": labels, "model": "buyer"})
        assert answer.status in (200, 202), answer.body
        assert answer.headers["location"] == f"/training-datasets/{answer.json['id']}"
        return answer

    def job(self, job_id: str) -> Any:
        return self.server.get(f"/training-datasets/{job_id}").json

    def runs(self, job_id: str) -> tuple[str, ...]:
        """Those that are not over."""
        return TrainingRuns(self.dagster.url).of_job(job_id).alive


@pytest.fixture(scope="module")
def setting(stack: Settings, tmp_path_factory: pytest.TempPathFactory, eventually: Eventually) -> Iterator[Setting]:
    store, folder = FeatureStore(stack, token=""), tmp_path_factory.mktemp("training")
    project = load_project("feature_defs")
    store.apply(project)
    for role in project.view(VIEW).viewed:
        schema = build_plan(role.group).schema
        values = {feature.name: None for feature in schema.features} | {key.name: "00042" for key in schema.keys}
        times = {"feature_timestamp": AT, "created_timestamp": AT, "retracted": False}
        row = pa.Table.from_pylist([values | times | FIRST.get(role.group.name, {})], schema=arrow_schema(schema))
        ensure_table(store.catalog, schema).overwrite(row)
    with running_dagster(folder, eventually) as dagster:
        server = ServerProcess(folder, stack.database_url("registry"), {"dagster_url": dagster.url})
        server.start()
        yield Setting(server, dagster, store)
        server.stop()
    forget(store, project)


def forget(store: FeatureStore, project: Project) -> None:
    """Other tests have other definitions of these names in the registry of the stack."""
    with store.registry.engine.begin() as connection:
        for table, named in (
            ("feature_views", project.views),
            ("feature_groups", project.groups),
            ("entity_types", {group.entity.name: group.entity for group in project.groups}.values()),
        ):
            names = [each.name for each in named]
            connection.execute(sa.text(f"DELETE FROM {table} WHERE name = ANY(:names)"), {"names": names})


FIRST = {"user_orders": {"user_order_count_all_time": 7}}


def test_a_run_makes_the_dataset_and_the_same_again_is_the_same_job(setting: Setting, eventually: Eventually) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = [*pool.map(lambda _: setting.ask("00042", "nobody"), range(4))]
    assert len({answer.json["id"] for answer in answers}) == 1
    job_id = answers[0].json["id"]
    eventually(lambda: setting.job(job_id)["state"] in ("SUCCEEDED", "FAILED"))
    job = setting.job(job_id)
    assert (job["state"], job["progress"], job["rows"], job["error"]) == ("SUCCEEDED", 1.0, 2, None), job
    rows = load_dataset(job["result"]["path"]).to_arrow()
    assert rows["user_id"].to_pylist() == ["00042", "nobody"]
    assert rows["y"].to_pylist() == [True, False]
    assert rows["user_order_count_all_time"].to_pylist() == [7, 0]
    assert job["result"]["null_rates"]["user_order_count_all_time"] == 0.5
    again = setting.ask("00042", "nobody")
    assert (again.status, again.json["id"]) == (200, job_id)
    node = asked(setting.dagster.url, MATERIALIZED, key={"path": ["training", "repurchase_v1"]})["assetNodeOrError"]
    (made,) = node["assetMaterializations"]
    entries = {entry["label"]: entry.get("intValue") for entry in made["metadataEntries"]}
    assert (made["partition"], entries["dagster/row_count"]) == (job_id, 2)
    assert {"distribution", "warnings", "null rate of user_order_count_all_time", "seconds"} <= entries.keys()
    assert job["run"].startswith(setting.dagster.url)
    assert ("buyer", "training") in {(used.model, used.purpose) for used in setting.store.registry.usage(VIEW)}


def test_a_cancelled_job_ends_its_run(setting: Setting, eventually: Eventually) -> None:
    job_id = setting.ask("cancelled").json["id"]
    eventually(lambda: setting.runs(job_id))
    answer = setting.server.ask("DELETE", f"/training-datasets/{job_id}")
    assert (answer.status, answer.json["state"]) == (200, "CANCELLED"), answer.body
    assert setting.server.ask("DELETE", f"/training-datasets/{job_id}").status == 200
    eventually(lambda: not setting.runs(job_id))
    assert (setting.job(job_id)["state"], setting.job(job_id)["result"]) == ("CANCELLED", None)


def test_a_killed_run_is_started_again(setting: Setting, eventually: Eventually) -> None:
    """Its silence is made long by hand: the server asks Dagster, which says that the run has ended."""
    job_id = setting.ask("killed").json["id"]
    code = psutil.Process(setting.dagster.code_pid)
    eventually(lambda: setting.job(job_id)["state"] == "RUNNING")
    for process in code.children(recursive=True):
        if any("spawn_main" in word for word in process.cmdline()):
            process.kill()
    if setting.job(job_id)["state"] == "RUNNING":
        run(setting.store.registry, "UPDATE training_jobs SET heartbeat_at = heartbeat_at - interval '30 seconds'"
            f" WHERE job_id = '{job_id}'")  # fmt: skip
    eventually(lambda: setting.job(job_id)["state"] == "SUCCEEDED")
    record = TrainingJobs(setting.store.registry.engine).get(job_id)
    assert record.dataset_id in {made.id for made in setting.store.registry.training_datasets(VIEW)}
