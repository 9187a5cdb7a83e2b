"""What the server answers over gRPC is what a reader in the same process gets; who may read what is decided as ever."""

from __future__ import annotations

import random
from collections.abc import Iterator

import grpc
import pytest

from feature_store import INT, Deprecated, Entity, FeatureView, OnDemand
from feature_store.dtypes import from_micros, to_micros
from feature_store.online.connection import connect
from feature_store.online.reader import OnlineReader
from feature_store.online.vectors import OnlineVectors
from feature_store.registry.access.store import AccessControl
from feature_store.registry.access.tokens import Principal
from feature_store.registry.store import Registry
from feature_store.remote.online_pb2 import Column, Feature, Group, Input, ReadRequest, ReadResponse
from feature_store.remote.online_pb2_grpc import OnlineStub
from feature_store.settings import Settings
from tests.conftest import Eventually
from tests.integration.serving.conftest import NewRegistry, address_of
from tests.integration.serving.grpc_client import SECONDS, bearer, columns_of, refused, request_of, stub_of
from tests.integration.serving.server_process import ServerProcess
from tests.integration.serving.shop import GROUPS, VIEWS, Shop, facts_of
from tests.integration.serving.test_answers import rows_of

ROUNDS = 12
SHELVES = facts_of(
    Entity("shelf", join_key="shelf_id", dtype=INT),
    {"tags": ["x", "y"], "sizes": None, "visits": None, "count": None},
)
OLD = facts_of(
    Entity("crate", join_key="crate_id"), {"count": None}, deprecated=Deprecated("shelf_facts@1", removal="2020-01-31")
)
WIDE = FeatureView(
    "wide",
    groups=[SHELVES],
    on_demand=[OnDemand("twice", "shelf_count + shelf_count", dtype=INT)],
    owner="team:shop",
)
TEAMS = {"owner": "team:shop", "stranger": "service:x", "other": "team:other"}


@pytest.fixture(scope="module")
def wide_registry(stack: Settings, new_registry: NewRegistry) -> Registry:
    """The shop with lists, and a feature that does not fit 64 bits."""
    return new_registry("registry_of_grpc")


@pytest.fixture(scope="module")
def wide_shop(stack: Settings, wide_registry: Registry) -> Shop:
    with connect(stack.redis_url) as redis:
        shop = Shop.fill(wide_registry, redis, (*GROUPS, SHELVES, OLD), (*VIEWS, WIDE))
    wide_registry.retire("crate_facts@1", "tests")
    del shop.views["group", "crate_facts@1"]
    wide_registry.record_usage("ranking@1", "ranker", "serving")
    return shop


@pytest.fixture(scope="module")
def control(wide_registry: Registry, wide_shop: Shop) -> AccessControl:
    return AccessControl(wide_registry.engine)


@pytest.fixture(scope="module")
def secrets(control: AccessControl) -> dict[str, str]:
    """Tokens by their names."""
    return {name: control.create_token(name, Principal.parse(of), "tests").secret for name, of in TEAMS.items()}


@pytest.fixture(scope="module")
def guarded(
    wide_registry: Registry, secrets: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server that answers nobody without a token."""
    assert secrets
    changes = {"tokens_required": True}
    process = ServerProcess(tmp_path_factory.mktemp("guarded"), address_of(wide_registry), changes)
    process.start()
    yield process
    process.stop()


@pytest.fixture(scope="module")
def stub(guarded: ServerProcess) -> Iterator[OnlineStub]:
    with stub_of(guarded) as stub:
        yield stub


def check(answer: ReadResponse, vectors: OnlineVectors) -> None:
    """Compares everything that an answer says."""
    view = vectors.view
    assert (answer.id, answer.row_count) == (view.id, len(vectors))
    assert [feature.name for feature in answer.features] == [column.name for column in view.outputs]
    assert [Feature.Type.Name(feature.type) for feature in answer.features] == [c.dtype.kind for c in view.outputs]
    rows = vectors.to_dicts()
    assert columns_of(answer) == {c.name: [row[c.name] for row in rows] for c in view.outputs}
    for group, part in zip(answer.groups, vectors.groups, strict=True):
        name = part.group.id
        updated_at = from_micros(group.updated_at) if group.HasField("updated_at") else None
        assert (group.id, group.stale, updated_at) == (name, vectors.stale[name], vectors.updated_at[name])
        assert [*map(Group.Status.Name, group.statuses)] == [row[name] for row in vectors.statuses]
        instants = [row[name] for row in vectors.feature_timestamps]
        assert [*group.feature_timestamps] == [0 if each is None else to_micros(each) for each in instants]
        assert all(
            status in (Group.NOT_FOUND, Group.UNAVAILABLE)
            for status, each in zip(group.statuses, instants, strict=True)
            if each is None
        )
    assert {each.feature: [*each.rows] for each in answer.overflowed} == {
        name: [*places] for name, places in vectors.overflows.items() if places
    }


def test_answers_are_those_of_a_reader(
    stub: OnlineStub, wide_shop: Shop, secrets: dict[str, str], reader: OnlineReader
) -> None:
    statuses, overflowed = set[int](), 0
    for seed in range(ROUNDS):
        chance = random.Random(seed)
        for (kind, _), view in wide_shop.views.items():
            rows = rows_of(view, chance)
            given = {"budget": chance.choice([None, 5, 7.25]), "asked_at": from_micros(chance.randrange(10**15))}
            given = given if view.request else {}
            call = stub.ReadGroup if kind == "group" else stub.ReadView
            answer = call(request_of(view, rows, given, chance), timeout=SECONDS, metadata=bearer(secrets["owner"]))
            assert not answer.masked
            check(answer, reader.read(view, rows, from_micros(answer.request_time), request=given))
            statuses |= {status for group in answer.groups for status in group.statuses}
            overflowed += len(answer.overflowed)
    assert statuses == {Group.PRESENT, Group.DEFAULTED, Group.EXPIRED, Group.NOT_FOUND}
    assert overflowed


def ranking(*features: str) -> ReadRequest:
    keys = [Input(name="user_id", column=Column(strings=["a"])), Input(name="item_id", column=Column(ints=[1, 0]))]
    request = [
        Input(name="budget", column=Column(doubles=[1, 2])),
        Input(name="asked_at", column=Column(timestamps=[0], nulls=[0])),
    ]
    return ReadRequest(id="ranking", keys=keys, request=request, features=features)


def test_chosen_features_are_those_of_the_whole_answer(stub: OnlineStub, secrets: dict[str, str]) -> None:
    whole = stub.ReadView(ranking(), timeout=SECONDS, metadata=bearer(secrets["owner"]))
    some = stub.ReadView(
        ranking("rest", "item_vector", "user_count"), timeout=SECONDS, metadata=bearer(secrets["owner"])
    )
    names = ["user_count", "item_vector", "rest"]
    assert [feature.name for feature in some.features] == names
    assert columns_of(some) == {name: columns_of(whole)[name] for name in names}
    assert len(some.groups) == len(whole.groups)


def test_a_caller_must_be_known_and_see_what_it_may(
    stub: OnlineStub, secrets: dict[str, str], control: AccessControl, eventually: Eventually
) -> None:
    unknown, denied = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
    users = ReadRequest(id="user_facts", keys=[Input(name="user_id", column=Column(strings=["a", "b", "nobody"]))])
    assert refused(stub.ReadGroup, users)[0] == (unknown, "token-missing")
    assert refused(stub.ReadGroup, users, metadata=bearer("fs_" + "x" * 43))[0] == (unknown, "token-unknown")
    assert refused(stub.ReadGroup, users, metadata=(("authorization", "Basic dTpw"),))[0] == (
        unknown,
        "token-malformed",
    )
    assert refused(stub.ReadView, ranking(), metadata=bearer(secrets["other"]))[0] == (denied, "access-denied")

    seen = stub.ReadGroup(users, timeout=SECONDS, metadata=bearer(secrets["owner"]))
    hidden = stub.ReadGroup(users, timeout=SECONDS, metadata=bearer(secrets["stranger"]))
    assert columns_of(seen)["user_name"][-1] == "?"
    assert [*hidden.masked] == ["user_name"]
    assert columns_of(hidden) == {**columns_of(seen), "user_name": [None] * 3}
    control.grant(Principal.parse("service:x"), "pii", "user_facts", "tests")
    eventually(
        lambda: (
            columns_of(stub.ReadGroup(users, timeout=SECONDS, metadata=bearer(secrets["stranger"]))) == columns_of(seen)
        )
    )


def test_a_model_reads_the_view_that_it_is_recorded_with(stub: OnlineStub, secrets: dict[str, str]) -> None:
    asked = ranking()
    asked.id = "ranker"
    by_model = stub.ReadModel(asked, timeout=SECONDS, metadata=bearer(secrets["owner"]))
    by_view = stub.ReadView(ranking(), timeout=SECONDS, metadata=bearer(secrets["owner"]))
    assert by_model.id == "ranking@1"
    assert columns_of(by_model) == columns_of(by_view)


def test_what_is_retired_is_no_more_served(stub: OnlineStub, secrets: dict[str, str]) -> None:
    asked = ReadRequest(id="crate_facts@1", keys=[Input(name="crate_id", column=Column(strings=["a"]))])
    told, trailers = refused(stub.ReadGroup, asked, metadata=bearer(secrets["owner"]))
    assert told == (grpc.StatusCode.FAILED_PRECONDITION, "retired")
    assert b"shelf_facts@1" in trailers["remedy-bin"]


def test_the_id_of_a_call_comes_back(stub: OnlineStub, secrets: dict[str, str]) -> None:
    metadata = (*bearer(secrets["owner"]), ("x-request-id", "mine"))
    _, call = stub.ReadView.with_call(ranking(), timeout=SECONDS, metadata=metadata)
    assert ("x-request-id", "mine") in call.trailing_metadata()
    asked = ranking("nothing")
    _, trailers = refused(stub.ReadView, asked, metadata=metadata)
    assert trailers["x-request-id"] == "mine"
