"""A function of an on-demand feature that does not end: its feature fails, all else is answered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from feature_store import INT, STRING, FeatureView, OnDemand
from feature_store.dsl.collect import Project
from feature_store.online.connection import connect
from feature_store.plan.project import compile_project
from feature_store.remote.online_pb2 import Column, Input, ReadRequest
from feature_store.settings import Settings
from tests.conftest import Eventually
from tests.integration.serving.conftest import NewRegistry, address_of
from tests.integration.serving.grpc_client import SECONDS, stub_of
from tests.integration.serving.server_process import ServerProcess
from tests.integration.serving.shop import GROUPS, USERS, Shop
from tests.unit import on_demand_functions as functions

WAITING = FeatureView(
    "waiting",
    groups=[USERS.select("user_count")],
    request={"country": STRING},
    on_demand=[
        OnDemand("held", function=functions.held, dtype=INT),
        OnDemand("name_length", function=functions.name_length, dtype=INT),
        OnDemand("twice", "held * 2", dtype=INT),
        OnDemand("place", "upper(country)", dtype=STRING),
    ],
    owner="team:ranking",
)
LIMIT_SECONDS = 2.0
"""More than anything takes that is not held, on a busy machine."""


@pytest.fixture(scope="module")
def waiting(
    stack: Settings, new_registry: NewRegistry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    registry = new_registry("registry_of_slow_functions")
    with connect(stack.redis_url) as redis:
        Shop.fill(registry, redis)
    project = Project(GROUPS, (WAITING,), {}, packages=("tests",))
    registry.apply(registry.plan(compile_project(project)), "tests")
    given = {"packages": ["tests"], "function_limit": LIMIT_SECONDS}
    process = ServerProcess(tmp_path_factory.mktemp("waiting"), address_of(registry), given)
    process.start()
    yield process
    process.stop()


@pytest.mark.parametrize("way", ["asleep", "busy"])
def test_a_function_that_does_not_end_fails_alone(
    waiting: ServerProcess, eventually: Eventually, tmp_path: Path, way: str
) -> None:
    def ask(country: str) -> tuple[list[object], dict[str, str]]:
        answer = waiting.get("/feature-views/waiting/online", user_id="nobody", country=country)
        assert answer.status == 200, answer.body
        return answer.json["rows"][0], answer.json.get("failed", {})

    eventually(lambda: ask("home") == ([7, 4, 4, 8, "HOME"], {}))  # the pause after the case before has passed
    hold = tmp_path / "hold"
    hold.touch()
    try:
        name = f"{way}:{hold}"
        row, failed = ask(name)
        assert row == [7, None, len(name), None, name.upper()]
        assert failed == {
            "held": "its function tests.unit.on_demand_functions:held took longer than 2000 ms",
            "twice": "it reads held, which failed",
        }
        row, failed = ask("home")
        assert row == [7, None, 4, None, "HOME"]
        assert "is left alone for a while" in failed["held"]
        users = waiting.get("/feature-groups/user_facts/online?entity_ids=nobody").json
        assert (users["rows"], "failed" in users) == ([[7, "?", None]], False)
        keys = [Input(name="user_id", column=Column(strings=["nobody"]))]
        country = [Input(name="country", column=Column(strings=["home"]))]
        with stub_of(waiting) as stub:
            answer = stub.ReadView(ReadRequest(id="waiting", keys=keys, request=country), timeout=SECONDS)
        assert set(answer.failed) == {"held", "twice"}
        metrics = waiting.get("/metrics").body.decode()
        assert "feature_store_functions_stuck 1.0" in metrics
        assert 'feature="held",reason="late",view="waiting@1"' in metrics
    finally:
        hold.unlink()
    eventually(lambda: ask("home") == ([7, 4, 4, 8, "HOME"], {}))
    assert "feature_store_functions_stuck 0.0" in waiting.get("/metrics").body.decode()


def test_it_ends_while_a_function_does_not(waiting: ServerProcess, tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    hold.touch()
    try:
        answer = waiting.get("/feature-views/waiting/online", user_id="nobody", country=f"asleep:{hold}")
        assert answer.json["failed"]
        assert waiting.stop() in (0, -15)
    finally:
        hold.unlink()
