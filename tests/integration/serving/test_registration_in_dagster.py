"""A posted group in Dagster: the server has the code location loaded anew, and the group's assets are there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from feature_store.dsl.collect import load_project
from feature_store.registry.store import Registry
from feature_store.settings import Settings
from resources.project import compile_with_posted
from tests.conftest import Eventually
from tests.integration.own_valkey import free_port
from tests.integration.registry_setting import run
from tests.integration.serving.conftest import address_of
from tests.integration.serving.dagster_process import asked, running_dagster
from tests.integration.serving.server_process import ServerProcess

RIDES: dict[str, Any] = {
    "name": "user_rides",
    "entity": {"name": "user", "join_key": "user_id"},
    "source": {
        "name": "rides",
        "table": "raw.rides",
        "event_timestamp": "ts",
        "schema": {"user_id": "STRING", "ts": "TIMESTAMP"},
    },
    "owner": "team:rides",
    "features": [{"name": "user_ride_count_7d", "agg": {"function": "count"}, "window": "7d", "dtype": "INT"}],
}
ASSETS = "{ assetNodes { assetKey { path } groupName } }"


@pytest.fixture
def registry(stack: Settings) -> Iterator[Registry]:
    """The registry of the stack itself, which Dagster's processes read."""
    found = Registry(stack.database_url("registry"))
    found.upgrade()
    yield found
    run(found, "DELETE FROM feature_groups WHERE posted")
    found.engine.dispose()


@pytest.fixture
def dagster(registry: Registry, tmp_path: Path, eventually: Eventually) -> Iterator[str]:
    with running_dagster(tmp_path, eventually) as running:
        yield running.url


def assets(dagster: str) -> dict[tuple[str, ...], str]:
    nodes = asked(dagster, ASSETS)["assetNodes"]
    return {tuple(node["assetKey"]["path"]): node["groupName"] for node in nodes}


def test_what_does_not_fit_the_code_is_left_out(
    registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    code = load_project("feature_defs")
    server = ServerProcess(tmp_path, address_of(registry))
    server.start()
    try:
        assert server.post("/feature-groups", RIDES).status == 201
        compiled = compile_with_posted(code)
        assert compiled.groups.keys() == {*(group.id for group in code.groups), "user_rides@1"}
        assert compiled.project.domains["user_rides@1"] == "posted"
        assert caplog.records == []
        clash = {**RIDES, "name": "user_more_rides", "source": {**RIDES["source"], "name": "order_events"}}
        assert server.post("/feature-groups", clash).status == 201  # this registry knows no order_events yet
        assert compile_with_posted(code).groups.keys() == {group.id for group in code.groups}
        assert "the groups that were posted to the server are left out" in caplog.text
        assert "two different sources have the name 'order_events'" in caplog.text
    finally:
        server.stop()


def test_without_a_registry_the_code_is_loaded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FS_PG_URL", f"postgresql://fs:secret-word@127.0.0.1:{free_port()}")
    monkeypatch.setenv("FS_REDIS_URL", "redis://127.0.0.1:1")
    code = load_project("feature_defs")
    assert compile_with_posted(code).groups.keys() == {group.id for group in code.groups}
    assert "only the definitions in code are loaded" in caplog.text
    assert "secret-word" not in caplog.text


def test_a_posted_group_appears_in_dagster(registry: Registry, dagster: str, tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, address_of(registry), {"dagster_url": dagster})
    server.start()
    try:
        before = assets(dagster)
        assert ("offline", "user_orders", "v1") in before
        assert ("offline", "user_rides", "v1") not in before
        answer = server.post("/feature-groups", RIDES)
        assert (answer.status, answer.json["dagster"]) == (201, {"status": "reloaded", "detail": ""}), answer.body
        added = {key: group for key, group in assets(dagster).items() if key not in before}
        assert added.keys() == {(kind, "user_rides", "v1") for kind in ("offline", "online")} | {("source", "rides")}
        assert added["offline", "user_rides", "v1"] == "posted/user_rides"
    finally:
        server.stop()
