"""Definitions that change while the server answers: new ones arrive, old ones stay, no answer is wrong meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from feature_store import INT, STRING, Entity, FeatureGroup, FeatureView, OnDemand
from feature_store.dsl.collect import Project
from feature_store.online.connection import connect
from feature_store.online.vector_sets import keep_sets
from feature_store.plan.build import build_plan
from feature_store.plan.project import compile_project
from feature_store.registry.recorded_vectors import keep_recorded_sets
from feature_store.registry.store import Registry
from feature_store.remote.online_pb2 import Column, Input, ReadRequest
from feature_store.settings import Settings
from tests.conftest import PATIENCE_SECONDS, Eventually
from tests.integration.serving.conftest import NewRegistry, address_of
from tests.integration.serving.grpc_client import stub_of
from tests.integration.serving.server_process import ServerProcess
from tests.integration.serving.shop import GROUPS, USERS, Shop, facts_of, visits
from tests.unit import on_demand_functions as functions

CHURN = FeatureView("churn", groups=[USERS], owner="team:ranking")


@pytest.fixture(scope="module")
def changing_registry(stack: Settings, new_registry: NewRegistry) -> Registry:
    """A registry whose definitions change."""
    registry = new_registry("registry_of_changes")
    with connect(stack.redis_url) as redis:
        Shop.fill(registry, redis)
    return registry


@pytest.fixture(scope="module")
def changing(changing_registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that reads it."""
    given = {"packages": ["tests"]}
    process = ServerProcess(tmp_path_factory.mktemp("changing"), address_of(changing_registry), given)
    process.start()
    yield process
    process.stop()


def apply(registry: Registry, *views: FeatureView, groups: Sequence[FeatureGroup] = GROUPS) -> None:
    project = Project(tuple(groups), views, {}, packages=("tests",))
    registry.apply(registry.plan(compile_project(project)), "tests")


def test_what_is_applied_is_served_within_seconds(
    changing: ServerProcess, changing_registry: Registry, eventually: Eventually
) -> None:
    churn = "/feature-views/churn/online?user_id=a"
    assert changing.get(churn).status == 404
    apply(changing_registry, CHURN)
    eventually(lambda: changing.get(churn).status == 200)
    newer = FeatureView("churn", version=2, groups=[USERS.select("user_name")], owner="team:ranking")
    apply(changing_registry, CHURN, newer)
    eventually(lambda: changing.get(churn).json["id"] == "churn@2")
    assert changing.get(churn).json["features"] == ["user_name"]
    assert changing.get("/feature-views/churn@1/online?user_id=a").json["features"][0] == "user_count"


def test_a_function_that_fails_fails_only_its_feature(
    changing: ServerProcess, changing_registry: Registry, eventually: Eventually
) -> None:
    """And those that read it; the same values in another shape, and of other rows, are computed."""
    view = FeatureView(
        "trial",
        groups=[USERS.select("user_count")],
        request={"country": STRING},
        on_demand=[
            OnDemand("number", function=functions.as_number, dtype=INT, default=5),
            OnDemand("double", "number * 2", dtype=INT),
            OnDemand("place", "upper(country)", dtype=STRING),
        ],
        owner="team:ranking",
    )
    apply(changing_registry, CHURN, view)
    path = "/feature-views/trial/online?user_id=nobody"
    eventually(lambda: changing.get(path + "&country=17").status == 200)
    for country in ("17", "%2217%22"):
        assert changing.get(f"{path}&country={country}").json["rows"] == [[7, 17, 34, "17"]]
    failed = changing.get(path + "&country=home").json
    assert failed["rows"] == [[7, None, None, "HOME"]]
    assert "as_number fails on these values" in failed["failed"]["number"]
    assert failed["failed"]["double"] == "it reads number, which failed"
    record = changing.get(path + "&country=home&shape=records").json
    assert record["records"][0]["features"] == {"user_count": 7, "number": None, "double": None, "place": "HOME"}
    assert record["failed"] == failed["failed"]
    packed = changing.get(path + "&country=home&shape=msgpack").packed
    assert packed["on_demand"] == {"number": [None], "double": [None], "place": ["HOME"]}
    column = [Input(name="user_id", column=Column(strings=["nobody"]))]
    country = [Input(name="country", column=Column(strings=["home"]))]
    with stub_of(changing) as stub:
        answer = stub.ReadView(ReadRequest(id="trial", keys=column, request=country), timeout=PATIENCE_SECONDS)
    assert dict(answer.failed) == failed["failed"]
    assert "failed" not in changing.get(path + "&country=home&features=place").json


def test_a_feature_that_is_added_fails_no_read(
    changing: ServerProcess, changing_registry: Registry, eventually: Eventually
) -> None:
    path = "/feature-groups/user_visits/online?entity_ids=a,b,c,nobody"
    before = changing.get(path).json
    answers, ended = [], threading.Event()

    def ask() -> None:
        while not ended.is_set():
            answers.append(changing.get(path))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        apply(changing_registry, groups=[*GROUPS[:-1], visits(default=3)])
        eventually(lambda: "user_visit_count_30d" in changing.get(path).json["features"])
    finally:
        ended.set()
        asking.join()
    assert {answer.status for answer in answers} == {200}
    for answer in answers:
        assert [row[:1] for row in answer.json["rows"]] == before["rows"]
        assert [row[1:] for row in answer.json["rows"]] in ([[]] * 4, [[3]] * 4)
    had = before["groups"][0]["statuses"]
    assert "PRESENT" in had
    now = changing.get(path).json["groups"][0]["statuses"]
    assert now == ["DEFAULTED" if status == "PRESENT" else status for status in had]


def test_a_view_answers_the_same_before_while_and_after_it_is_prejoined(
    changing: ServerProcess, changing_registry: Registry, stack: Settings, eventually: Eventually
) -> None:
    guest = Entity("guest", join_key="guest_id")
    groups = [facts_of(guest, {"count": None, "at": None}), facts_of(guest, {"name": "?"}, version=2)]
    schemas = [build_plan(group).schema for group in groups]
    plain = FeatureView("visiting", groups=[USERS, *groups], owner="team:ranking")
    path = "/feature-views/visiting/online?user_id=a&guest_id=a,b,c,,nobody&shape="
    column = [Input(name=name, column=Column(strings=["a", "b"])) for name in ("user_id", "guest_id")]

    def answers() -> list[object]:
        with stub_of(changing) as stub:
            called = stub.ReadView(ReadRequest(id="visiting", keys=column), timeout=PATIENCE_SECONDS)
        called.ClearField("request_time")
        shapes = [changing.get(path + shape) for shape in ("columns", "records", "msgpack")]
        told = [shapes[0].json, shapes[1].json, shapes[2].packed]
        assert all(answer.pop("request_time") for answer in told)
        return [called, *told]

    apply(changing_registry, plain, groups=[USERS, *groups])
    with connect(stack.redis_url) as redis:
        Shop.write(redis, groups)
        eventually(lambda: changing.get(path + "columns").status == 200)
        expected = answers()
        apply(changing_registry, replace(plain, prejoin=True), groups=[USERS, *groups])
        eventually(lambda: changing.get("/feature-views/visiting").json["definition"].get("prejoin") is True)
        assert answers() == expected
        keep_recorded_sets(changing_registry, redis, [schemas[0].id])
        assert answers() == expected
        redis.delete(*(f"{schema.id}:{{{name}}}" for schema in schemas for name in "abc"))
        assert answers() == expected, "vectors are read, not the groups"
        keep_sets(redis, (), [schemas[0].id])
