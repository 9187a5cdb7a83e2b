"""Registered models, served by their names: what a version pins, in its order, over every protocol and shape."""

from __future__ import annotations

import io
import signal
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pytest

from feature_store import Entity, FeatureStore, FeatureStoreClient, FeatureView
from feature_store.dsl.collect import Project
from feature_store.errors import AccessError, ConflictError, InputError, NotFoundError
from feature_store.online.connection import connect
from feature_store.online.vectors import OnlineVectors
from feature_store.plan.project import compile_project
from feature_store.registry.access.store import AccessControl
from feature_store.registry.access.tokens import Principal
from feature_store.registry.models import RegisteredModels
from feature_store.registry.store import Registry
from feature_store.settings import Settings
from tests.conftest import Eventually
from tests.integration.serving.conftest import NewRegistry, address_of
from tests.integration.serving.server_process import ServerProcess
from tests.integration.serving.shop import (
    GROUPS,
    ITEMS,
    MATCHING,
    NAMES,
    PAIRS,
    RANKING,
    USERS,
    Shop,
    facts_of,
    visits,
)

ORDERS: dict[str, list[str]] = {
    "prefix": ["user_count", "item_price", "item_seller"],
    "mixed": ["item_vector", "rest", "pair_count", "user_at", "item_price", "user_name"],
    "one": ["item_open"],
}
"""Features of ranking@1 by model: in the view's order but some left out; across groups, with an on-demand one; one."""
PLAIN = FeatureView("plain", groups=[USERS, ITEMS], owner="team:ranking")
VISITED = FeatureView("visited", groups=[visits()], owner="team:ranking")
REMEMBERED = facts_of(Entity("guest", join_key="guest_id"), {"count": 1, "name": "?"}, cache="1m")
GUESTS = FeatureView("guests", groups=[REMEMBERED], owner="team:ranking")
ROWS = [{"user_id": user, "item_id": item} for user in NAMES for item in (0, 1, None)]
REQUEST = {"budget": 9.5, "asked_at": None}
PATIENT = 20.0


@pytest.fixture(scope="module")
def model_registry(stack: Settings, new_registry: NewRegistry) -> Registry:
    registry = new_registry("registry_of_model_tests")
    with connect(stack.redis_url) as redis:
        Shop.fill(registry, redis, (*GROUPS, REMEMBERED), (RANKING, MATCHING, PLAIN, VISITED, GUESTS))
    models = RegisteredModels(registry)
    for name, features in ORDERS.items():
        models.register(name, 1, "ranking@1", features, by="tests")
    models.register("native", 1, "plain@1", ["user_count", "item_price"], by="tests")
    models.register("native", 2, "plain@1", ["item_price", "user_count"], by="tests")
    models.register("whole", 3, "plain@1", by="tests")
    return registry


@pytest.fixture(scope="module")
def serving(model_registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    process = ServerProcess(tmp_path_factory.mktemp("models"), address_of(model_registry))
    process.start()
    yield process
    process.stop(signal.SIGKILL)


@pytest.fixture(scope="module", params=["http", "grpc"])
def client(request: pytest.FixtureRequest, serving: ServerProcess) -> Iterator[FeatureStoreClient]:
    port = serving.grpc_port if request.param == "grpc" else serving.port
    with FeatureStoreClient(f"{request.param}://127.0.0.1:{port}", deadline=PATIENT) as client:
        yield client


def values(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(zip(answer["features"], row, strict=True)) for row in answer["rows"]]


@pytest.mark.parametrize("name", ORDERS)
def test_every_shape_has_the_features_of_the_model_in_its_order(serving: ServerProcess, name: str) -> None:
    body, features = {"rows": ROWS, "request": REQUEST}, ORDERS[name]
    view, model = "/feature-views/ranking@1/online", f"/models/{name}/online"
    expected = [{each: row[each] for each in features} for row in values(serving.post(view, body).json)]
    columns = serving.post(model, body).json
    assert (columns["id"], columns["features"], values(columns)) == ("ranking@1", features, expected)

    whole, records = (serving.post(f"{path}?shape=records", body).json["records"] for path in (view, model))
    assert [[*record["features"]] for record in records] == [features] * len(ROWS)
    assert [record["features"] for record in records] == [
        {each: record["features"][each] for each in features} for record in whole
    ]
    assert [record["keys"] for record in records] == ROWS

    tables = [pa.ipc.open_stream(io.BytesIO(serving.post(f"{path}?shape=arrow", body).body)).read_all()
              for path in (view, model)]  # fmt: skip
    assert tables[1].column_names[: 2 + len(features)] == ["user_id", "item_id", *features]
    assert tables[1].select(features).equals(tables[0].select(features))
    assert serving.post(f"{model}?shape=msgpack", body).packed["order"] == features


@pytest.mark.parametrize("name", [*ORDERS, "native@1", "native", "whole"])
def test_clients_give_what_the_model_reads_in_its_order(
    client: FeatureStoreClient, model_registry: Registry, name: str
) -> None:
    record = RegisteredModels(model_registry).get(name)
    rows = [row for row in ROWS if row["item_id"] is not None or record.view == "ranking@1"]
    request = REQUEST if record.view == "ranking@1" else None
    whole = client.online(record.view, rows, request=request)
    vectors = client.online(model=name, rows=rows, request=request)
    assert [column.name for column in vectors.outputs] == [*record.feature_names]
    expected = [{each: row[each] for each in ("user_id", "item_id", *record.feature_names)} for row in whole.to_dicts()]
    assert vectors.to_dicts() == expected
    assert [[*row] for row in vectors.to_dicts()] == [["user_id", "item_id", *record.feature_names]] * len(rows)
    assert vectors.to_arrow().equals(whole.to_arrow().select(["user_id", "item_id", *record.feature_names]))
    assert vectors.statuses == whole.statuses
    last = record.feature_names[-1]
    only = client.online(model=name, rows=rows, request=request, features=[last])
    assert [column.name for column in only.outputs] == [last]
    with pytest.raises(InputError) as refused:
        client.online(model=name, rows=rows, request=request, features=["pair_nothing"])
    assert refused.value.code == "not-in-view"


def test_a_version_is_named_in_the_query_or_the_name_and_else_the_latest_answers(serving: ServerProcess) -> None:
    rows = {"rows": [{"user_id": "a", "item_id": 1}]}
    first, second = ["user_count", "item_price"], ["item_price", "user_count"]
    for path, features in (
        ("/models/native/online", second),
        ("/models/native/online?version=1", first),
        ("/models/native/online?version=2", second),
        ("/models/native@1/online", first),
        ("/models/native@1/online?shape=columns", first),
    ):
        assert serving.post(path, rows).json["features"] == features, path
        joint = "&" if "?" in path else "?"
        got = serving.get(f"{path}{joint}user_id=a&item_id=1").json
        assert (got["features"], got["rows"]) == (features, serving.post(path, rows).json["rows"])
    for path, status, code in (
        ("/models/native/online?version=3", 404, "unknown-model"),
        ("/models/native/online?version=0", 404, "unknown-model"),
        ("/models/native@3/online", 404, "unknown-model"),
        ("/models/nobody/online?version=1", 404, "unknown-model"),
        ("/models/nobody/online", 404, "unknown-model"),
        ("/models/native/online?version=x", 400, "malformed-request"),
        ("/models/native/online?version=", 400, "malformed-request"),
        (f"/models/native/online?version={'9' * 5000}", 400, "malformed-request"),
        ("/models/native/online?version=%C2%B2", 400, "malformed-request"),
        ("/models/native/online?features=item_seller", 422, "not-in-view"),
    ):
        answer = serving.get(f"{path}{'&' if '?' in path else '?'}user_id=a&item_id=1")
        assert (answer.status, answer.json["code"]) == (status, code), path
    with pytest.raises(NotFoundError, match=r"registered are: native@1, native@2"), client_of(serving) as client:
        client.online(model="native@3", rows=rows["rows"])


def test_the_store_in_process_gives_the_same(serving: ServerProcess, model_registry: Registry, stack: Settings) -> None:
    rows = [row for row in ROWS if row["item_id"] is not None]
    store = store_of(model_registry, stack)
    with client_of(serving) as client:
        for name in ORDERS:
            here, there = (each.online(model=name, rows=rows, request=REQUEST) for each in (store, client))
            assert told(here) == told(there)
    assert [column.name for column in store.online(model="native", rows=rows).outputs] == ["item_price", "user_count"]
    matrix = store.online(model="native", rows=rows)
    assert matrix.matrix_columns() == ["item_price", "user_count"]
    assert matrix.to_numpy()[:, 1].tolist() == store.online("plain@1", rows).to_numpy(["user_count"])[:, 0].tolist()
    assert [*matrix.select(["user_count", "item_price"]).to_dicts()[0]][2:] == ["item_price", "user_count"]
    for wrong in ({}, {"view_id": "plain@1", "model": "native"}):
        with pytest.raises(InputError, match="either a view or a model"):
            store.online(rows=rows, **wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="either a name or a model"), client_of(serving) as client:
        client.online("plain@1", rows, model="native")
    with pytest.raises(NotFoundError):
        store.online(model="nobody", rows=rows)


def test_a_registration_takes_effect_and_a_retirement_too(
    serving: ServerProcess, model_registry: Registry, stack: Settings, eventually: Eventually
) -> None:
    store = store_of(model_registry, stack)
    path = f"/models/{quote('churn-модель')}/online?user_id=a&item_id=1"
    assert serving.get(path).status == 404
    assert store.register_model("churn-модель", 1, "plain@1", owner="team:churn").owner == "team:churn"
    eventually(lambda: serving.get(path).status == 200)
    store.register_model("churn-модель", 2, "plain@1", features=["user_name", "item_open"])
    eventually(lambda: serving.get(path).json["features"] == ["user_name", "item_open"])
    assert [model.id for model in store.models() if model.view == "plain@1"][:2] == ["churn-модель@1", "churn-модель@2"]
    RegisteredModels(model_registry).retire("churn-модель@2", "tests")
    eventually(lambda: len(serving.get(path).json["features"]) == 7)
    gone = serving.get(f"{path}&version=2")
    assert (gone.status, gone.json["code"]) == (410, "retired")
    with pytest.raises(ConflictError, match="retired"):
        store.model("churn-модель", 2)
    assert store.model("churn-модель").version == 1

    def noted() -> bool:
        usage = serving.get("/feature-views/plain/usage").json["usage"]
        return ("churn-модель", "serving") in {(used["model"], used["purpose"]) for used in usage}

    eventually(noted)
    assert not any("@" in used.model for used in model_registry.usage("plain@1"))


def test_features_that_a_group_gets_later_are_not_served_to_the_model(
    serving: ServerProcess, model_registry: Registry, eventually: Eventually
) -> None:
    groups = [*GROUPS[:-1], visits(default=3), REMEMBERED]
    views = (RANKING, MATCHING, PLAIN, VISITED, GUESTS)
    RegisteredModels(model_registry).register("visitor", 1, "visited@1", by="tests")
    model_registry.apply(model_registry.plan(compile_project(Project(tuple(groups), views, {}))), "tests")
    eventually(lambda: len(serving.get("/feature-views/visited/online?user_id=a").json["features"]) == 2)
    assert serving.get("/models/visitor/online?user_id=a").json["features"] == ["user_visit_count_7d"]
    with client_of(serving) as client:
        assert [*client.online(model="visitor", rows=[{"user_id": "a"}]).to_dicts()[0]] == [
            "user_id",
            "user_visit_count_7d",
        ]


def test_rows_that_a_client_remembers_are_not_put_together_with_those_of_another_version(
    serving: ServerProcess, model_registry: Registry, eventually: Eventually
) -> None:
    models, (a, b) = RegisteredModels(model_registry), ({"guest_id": "a"}, {"guest_id": "b"})
    models.register("host", 1, "guests@1", ["guest_count", "guest_name"], by="tests")
    eventually(lambda: serving.get("/models/host").status == 200)
    with FeatureStoreClient(f"http://127.0.0.1:{serving.port}", "", deadline=PATIENT, cache_seconds=50.0) as client:
        first = client.online(model="host", rows=[a])
        assert client.online(model="host", rows=[a]).to_dicts() == first.to_dicts()
        assert client.cache is not None
        assert client.cache.hits == 1
        models.register("host", 2, "guests@1", ["guest_name"], by="tests")
        eventually(lambda: serving.get("/models/host").json["version"] == 2)
        both = client.online(model="host", rows=[a, b])
        assert [[*row] for row in both.to_dicts()] == [["guest_id", "guest_name"]] * 2
        assert both.to_dicts()[0]["guest_name"] == first.to_dicts()[0]["guest_name"]


def test_grants_are_those_of_the_view(
    model_registry: Registry, tmp_path_factory: pytest.TempPathFactory, stack: Settings
) -> None:
    control = AccessControl(model_registry.engine)
    nobody, reader = (Principal.parse(f"service:{name}") for name in ("nobody", "reader"))
    secrets = {each.name: control.create_token(each.name, each, "tests").secret for each in (nobody, reader)}
    control.grant(reader, "read", PAIRS.name, "tests")
    given = {"tokens_required": True}
    process = ServerProcess(tmp_path_factory.mktemp("tokens"), address_of(model_registry), given)
    process.start()
    try:
        with client_of(process, secrets["reader"]) as client:
            vectors = client.online(model="mixed", rows=ROWS[:2], request=REQUEST)
            assert vectors.masked == ("user_name",)
            assert [row["user_name"] for row in vectors.to_dicts()] == [None, None]
            assert [column.name for column in vectors.outputs] == ORDERS["mixed"]
            headers = {"Authorization": f"Bearer {secrets['reader']}"}
            body = {"rows": ROWS[:2], "request": REQUEST}
            answer = process.post("/models/mixed/online", body, headers).json
            assert (answer["masked"], [row[-1] for row in answer["rows"]]) == (["user_name"], [None, None])
        with client_of(process, secrets["nobody"]) as client, pytest.raises(AccessError):
            client.online(model="prefix", rows=ROWS[:2], request=REQUEST)
        here = store_of(model_registry, stack, secrets["reader"])
        assert here.online(model="mixed", rows=ROWS[:2], request=REQUEST).masked == ("user_name",)
        assert process.get("/models").status == 401
    finally:
        process.stop(signal.SIGKILL)


def test_models_are_shown(serving: ServerProcess) -> None:
    listed = serving.get("/models", view="ranking@1").json
    assert ([model["id"] for model in listed["models"]], listed["total"]) == (["mixed@1", "one@1", "prefix@1"], 3)
    assert serving.get("/models", q="whol", limit=5).json["models"][0]["owner"] == "team:ranking"
    assert serving.get("/models", limit=-1).status == 400
    shown = serving.get("/models/mixed").json
    assert [feature["name"] for feature in shown["features"]] == ORDERS["mixed"]
    assert (shown["features"][0]["origin"], shown["features"][1]["origin"]) == ("item_facts@1/item_vector", None)
    assert (serving.get("/models/native").json["version"], serving.get("/models/native@1").json["version"]) == (2, 1)
    assert [each["version"] for each in serving.get("/models/native/versions").json["versions"]] == [1, 2]
    for path in ("/models/nobody", "/models/nobody/versions", "/models/native@9"):
        assert (serving.get(path).status, serving.get(path).json["code"]) == (404, "unknown-model"), path
    assert "mixed@1" in serving.get("/lineage/pair_facts@1/pair_count").json["registered"]


def client_of(server: ServerProcess, token: str = "") -> FeatureStoreClient:
    return FeatureStoreClient(f"http://127.0.0.1:{server.port}", token, deadline=PATIENT)


def store_of(registry: Registry, stack: Settings, token: str = "") -> FeatureStore:
    store = FeatureStore(stack, token)
    store.registry = registry
    return store


def told(vectors: OnlineVectors) -> Sequence[object]:
    return [column.name for column in vectors.outputs], vectors.to_dicts(), vectors.statuses, vectors.masked
