"""Training jobs over HTTP, as far as a server takes them by itself: who may ask, see and cancel, and what is refused.

No Dagster is where the server looks for it: jobs wait. `test_training_in_dagster` has the runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from feature_store import FeatureView
from feature_store.dsl.collect import Project
from feature_store.errors import ConflictError, InputError, TokenError
from feature_store.offline.tables import ensure_table
from feature_store.plan.build import build_plan
from feature_store.registry.access.store import AccessControl
from feature_store.registry.access.tokens import Principal
from feature_store.remote.client import FeatureStoreClient
from feature_store.settings import Settings
from tests.conftest import Eventually
from tests.integration.serving.server_process import Answer, ServerProcess
from tests.integration.training_setting import GROUP, NOWHERE, VIEW, TrainingSetting, buyers

HIDDEN = buyers("buyer_hidden", access="private")
HIDDEN_VIEW = FeatureView("hidden_buyers", groups=[HIDDEN], owner="team:shop")
PATH = "/feature-views/buyers/training-dataset"
LABEL = {"buyer_id": "ann", "label_timestamp": "2026-03-01T13:00:00Z", "y": 1.5}
ROW = {**LABEL, "label_timestamp": datetime(2026, 3, 1, 13, tzinfo=UTC)}


@dataclass(frozen=True)
class Setting:
    """A server that takes two jobs of each token at once, and the secrets of some."""

    training: TrainingSetting
    server: ServerProcess
    secrets: Mapping[str, str]

    def ask(self, path: str, body: Any, who: str = "owner") -> Answer:
        return self.server.post(path, body, self.headers(who))

    def headers(self, who: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secrets[who]}"}

    def cancel(self, answer: Answer, who: str = "owner") -> Answer:
        return self.server.ask("DELETE", answer.headers["location"], headers=self.headers(who))


@pytest.fixture(scope="module")
def setting(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    training = TrainingSetting.make(stack)
    training.store.apply(Project((GROUP, HIDDEN), (VIEW, HIDDEN_VIEW), {}))
    ensure_table(training.store.catalog, build_plan(HIDDEN).schema)
    access = AccessControl(training.store.registry.engine)
    people = {"owner": "team:shop", "guest": "team:guests", "busy": "service:busy"}
    secrets = {
        name: access.create_token(f"{name} of training", Principal.parse(who), "tests").secret
        for name, who in people.items()
    }
    folder = tmp_path_factory.mktemp("asked")
    (folder / "labels").mkdir()
    pl.DataFrame([ROW]).write_parquet(folder / "labels" / "some.parquet")
    environment = {"FS_SERVING_LABELS": str(folder / "labels"), "FS_SERVING_TRAINING_JOBS": "2"}
    changes = {"dagster_url": NOWHERE, "tokens_required": True}
    server = ServerProcess(folder, stack.database_url("registry"), changes, environment)
    server.start()
    yield Setting(training, server, secrets)
    server.stop()


def test_a_job_is_there_at_once_and_the_same_again_is_the_same(setting: Setting, eventually: Eventually) -> None:
    body = {"name": "same", "labels": [LABEL], "model": "buyer"}
    with ThreadPoolExecutor(4) as pool:
        answers = [*pool.map(lambda _: setting.ask(PATH, body), range(4))]
    assert [answer.status for answer in answers] == [202] * 4, answers[0].body
    (path,) = {answer.headers["location"] for answer in answers}

    def waits() -> bool:
        found = setting.server.get(path, setting.headers("owner")).json
        return found["state"] == "QUEUED" and found["step"].startswith("wait for Dagster: Dagster does not answer")

    eventually(waits)
    job = setting.server.get(path, setting.headers("owner")).json
    assert (job["view"], job["kind"], job["name"], job["model"]) == ("buyers@1", "view", "same", "buyer")
    assert (job["progress"], job["result"], job["error"]) == (0.0, None, None)
    assert job["asked_by"] == "team:shop (token owner of training)"
    cancelled = setting.cancel(answers[0])
    assert (cancelled.status, cancelled.json["state"]) == (200, "CANCELLED")
    after = setting.ask(PATH, body)
    assert (after.status, after.headers["location"] != path) == (202, True)
    setting.cancel(after)


def test_what_is_made_is_told_and_given_again(setting: Setting) -> None:
    body = {"name": "made", "labels": {"kind": "files", "path": "some.parquet"}}
    answer = setting.ask("/feature-groups/buyer_facts@1/training-dataset", body)
    made = setting.training.worker.work(answer.json["id"])
    again = setting.ask("/feature-groups/buyer_facts@1/training-dataset", body)
    assert (again.status, again.json["id"], again.json["state"]) == (200, answer.json["id"], "SUCCEEDED")
    assert again.json["result"] == {
        "dataset": made.id,
        "path": made.url,
        "rows": 1,
        "snapshots": made.snapshots,
        "labels_hash": made.labels_hash,
        "null_rates": {"buyer_count": 0.0, "buyer_email": 0.0},
        "masked": [],
        "warnings": [],
        "seconds": made.seconds,
    }
    over = setting.cancel(again)
    assert (over.status, over.json["code"]) == (409, "training-job-over")


def test_grants_masks_and_private(setting: Setting) -> None:
    """A guest sees what it could have made itself: not the owner's dataset, which has personal data."""
    body = {"name": "masked", "labels": [LABEL]}
    of_owner, of_guest = setting.ask(PATH, body), setting.ask(PATH, body, "guest")
    assert of_owner.json["id"] != of_guest.json["id"]
    seen = setting.server.get("/training-datasets?view=buyers@1&state=QUEUED", setting.headers("guest")).json
    assert [job["id"] for job in seen["training_datasets"]] == [of_guest.json["id"]]
    seen = setting.server.get("/training-datasets?view=buyers@1&state=QUEUED&limit=5", setting.headers("owner")).json
    assert {job["id"] for job in seen["training_datasets"]} == {of_owner.json["id"], of_guest.json["id"]}
    for method in ("GET", "DELETE"):
        answer = setting.server.ask(method, of_owner.headers["location"], headers=setting.headers("guest"))
        assert (answer.status, answer.json["code"]) == (403, "access-denied")
    answer = setting.cancel(of_guest, "owner")
    assert (answer.status, answer.json["code"]) == (403, "access-denied"), "it may see it, and is not its to cancel"
    made = setting.training.worker.work(of_guest.json["id"])
    assert (made.masked, made.table["buyer_email"].to_pylist()) == (("buyer_email",), [None])
    for target in ("/feature-views/hidden_buyers", "/feature-groups/buyer_hidden"):
        refused = setting.ask(f"{target}/training-dataset", body, "guest")
        assert (refused.status, refused.json["code"]) == (403, "access-denied")
    assert setting.server.post(PATH, body).status == 401
    setting.cancel(of_owner)


def test_more_jobs_than_a_token_may_have(setting: Setting) -> None:
    answers = [setting.ask(PATH, {"name": f"busy-{n}", "labels": [LABEL]}, "busy") for n in range(3)]
    assert [answer.status for answer in answers] == [202, 202, 429]
    assert (answers[2].json["code"], answers[2].headers["retry-after"]) == ("training-quota", "30")
    assert setting.ask(PATH, {"name": "busy-0", "labels": [LABEL]}, "busy").json["id"] == answers[0].json["id"]
    for answer in answers[:2]:
        assert setting.cancel(answer, "busy").status == 200


NAIVE = {**LABEL, "label_timestamp": "2026-03-01T13:00:00"}
REFUSED: list[tuple[str, Any, int, str]] = [
    (PATH, {"name": "x"}, 422, "time-range"),
    (PATH, {"name": "x", "labels": []}, 422, "no-labels"),
    (PATH, {"name": "../x", "labels": [LABEL]}, 422, "dataset-name"),
    (PATH, {"name": "x", "labels": [NAIVE]}, 422, "naive-timestamp"),
    (PATH, {"name": "x", "labels": [{**LABEL, "label_timestamp": "noon"}]}, 422, "not-an-instant"),
    (PATH, {"name": "x", "labels": [{"label_timestamp": LABEL["label_timestamp"]}]}, 422, "missing-column"),
    (PATH, {"name": "x", "labels": [{**LABEL, "buyer_id": 7}]}, 422, "wrong-type"),
    (PATH, {"name": "x", "labels": [LABEL] * 10_001}, 422, "too-many-labels"),
    (PATH, {"name": "x", "labels": [LABEL], "snapshots": {"buyer_facts@1": 42}}, 404, "no-snapshot"),
    (PATH, {"name": "x", "labels": [LABEL], "snapshots": {"other@1": 42}}, 422, "snapshot-group"),
    (PATH, {"name": "x", "labels": [LABEL], "more": 1}, 400, "malformed-request"),
    (PATH, {"name": "x", "labels": "everything"}, 400, "malformed-request"),
    (PATH, {"name": "x", "labels": [{**LABEL, "y": "\0"}]}, 400, "malformed-request"),
    (PATH, {"name": "x", "time_range": ["2026-03-02T00:00:00Z", "2026-03-01T00:00:00Z"]}, 422, "time-range"),
    (PATH, {"name": "x", "labels": {"kind": "files", "path": "nothing.parquet"}}, 422, "unreadable-labels"),
    (PATH, {"name": "x", "labels": {"kind": "files", "path": "../serving.log"}}, 403, "labels-not-offered"),
    (PATH, {"name": "x", "labels": {"kind": "files", "path": "/etc/*"}}, 403, "labels-not-offered"),
    (PATH, {"name": "x", "labels": {"kind": "table", "table": "features.buyer_facts_v1"}}, 403, "labels-not-offered"),
    (PATH, {"name": "x", "labels": {"kind": "postgres", "table": "registry.public.tokens"}}, 403, "labels-not-offered"),
    (PATH, {"name": "x", "labels": {"kind": "query", "sql": "SELECT 1", "tables":
        {"t": {"kind": "files", "path": "/etc/passwd"}}}}, 403, "labels-not-offered"),
    ("/feature-views/nothing@1/training-dataset", {"name": "x", "labels": [LABEL]}, 404, "not-recorded"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "status", "code"), REFUSED)
def test_what_cannot_be_made_is_refused_before_there_is_a_job(
    setting: Setting, path: str, body: Any, status: int, code: str
) -> None:
    before = len(setting.training.jobs.find())
    answer = setting.ask(path, body)
    assert (answer.status, answer.json["code"]) == (status, code), answer.body
    assert len(setting.training.jobs.find()) == before


def test_jobs_that_are_not_there(setting: Setting) -> None:
    for method in ("GET", "DELETE"):
        answer = setting.server.ask(method, "/training-datasets/nothing", headers=setting.headers("owner"))
        assert (answer.status, answer.json["code"]) == (404, "no-training-job")
    answer = setting.server.get("/training-datasets?state=DONE", setting.headers("owner"))
    assert (answer.status, answer.json["code"]) == (400, "malformed-request")


def test_the_client_asks_follows_and_cancels(setting: Setting) -> None:
    rows = [ROW]
    url = f"http://127.0.0.1:{setting.server.port}"
    with FeatureStoreClient(url, setting.secrets["owner"]) as client:
        job = client.training_dataset("buyers@1", rows, dataset="remote", model="buyer")
        assert client.training_dataset("buyers", rows, dataset="remote", model="buyer").id == job.id
        with pytest.raises(TimeoutError, match="QUEUED"):
            job.wait(0.1)
        made = setting.training.worker.work(job.id)
        found = client.training_job(job.id).wait(60)
        assert (found.dataset, found.path, found.rows) == (made.id, made.url, 1)
        other = client.training_dataset("buyers@1", rows, dataset="remote-2")
        other.cancel()
        assert other.status() == "CANCELLED"
        with pytest.raises(ConflictError, match="was cancelled"):
            other.wait(60)
        with pytest.raises(InputError, match="no time zone"):
            client.training_dataset("buyers@1", [NAIVE], dataset="remote")
    with FeatureStoreClient(url, "fs_unknown") as stranger, pytest.raises(TokenError):
        stranger.training_dataset("buyers@1", rows, dataset="remote")
