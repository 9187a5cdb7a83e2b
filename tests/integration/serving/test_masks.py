"""The columns that are masked for a caller are the same over REST, gRPC, the client, in process and in training."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from pyiceberg.catalog import Catalog
from redis import Redis

from feature_store import STRING, Entity, FeatureGroup, FeatureStore, FeatureStoreClient, FeatureView, OnDemand
from feature_store.datasets.manifest import MANIFEST
from feature_store.dsl.collect import Project
from feature_store.errors import AccessError, TokenError
from feature_store.offline.tables import ensure_table
from feature_store.online.materialize import materialize
from feature_store.plan.build import build_plan
from feature_store.registry.access import reader
from feature_store.registry.access.decision import Scope
from feature_store.registry.access.store import AccessControl
from feature_store.registry.access.tokens import Principal
from feature_store.remote.online_pb2 import Column, Input, ReadRequest
from feature_store.settings import Settings
from tests.conftest import PATIENCE_SECONDS, Eventually
from tests.integration.serving.grpc_client import SECONDS, bearer, columns_of, stub_of
from tests.integration.serving.server_process import ServerProcess
from tests.integration.serving.shop import facts_of
from tests.unit.pit.pit_cases import rows_table

ROUNDS = 4
NOW = datetime.now(UTC)
MARK = uuid.uuid4().hex[:8]
PERSON = Entity(f"person_{MARK}", join_key="person_id")
VISITOR = Entity(f"visitor_{MARK}", join_key="visitor_id")
PEOPLE = facts_of(PERSON, {"count": 7, "name": None, "seller": "s"}, pii=("name",))
VISITORS = facts_of(VISITOR, {"name": None, "count": None}, pii=("name",), access="private")
KNOWN = FeatureView(
    f"known_{MARK}",
    groups=[PEOPLE],
    on_demand=[OnDemand("loud", f"upper({PERSON.name}_name)", dtype=STRING)],
    owner="team:other",
)
MIXED = FeatureView(
    f"mixed_{MARK}", groups=[PEOPLE.keyed_by("friend_id", prefix="friend_"), VISITORS], owner="team:other"
)
HIDDEN = FeatureView(f"hidden_{MARK}", groups=[PEOPLE.select(f"{PERSON.name}_name")], owner="team:other",
                     access="private")  # fmt: skip
VIEWS, GROUPS = (KNOWN, MIXED, HIDDEN), (PEOPLE, VISITORS)
ROW = {"person_id": "a", "visitor_id": "a", "friend_id": "a"}
READER = Principal.parse(f"service:reader_{MARK}")
GRANTS: list[tuple[Scope, str, str]] = [
    *(("pii", group.name, "group") for group in GROUPS),
    ("read", VISITORS.name, "group"),
    ("admin", VISITORS.name, "group"),
    ("read", HIDDEN.name, "view"),
]  # fmt: skip
Outcome = frozenset[str] | str
"""The columns that are masked; "denied"."""


@dataclass(frozen=True)
class Setting:
    """A store and a server over the same registry, and tokens of an owner and of somebody with the random grants."""

    store: FeatureStore
    server: ServerProcess
    access: AccessControl
    secrets: Mapping[str, str]


@pytest.fixture(scope="module")
def setting(
    stack: Settings, catalog: Catalog, redis: Redis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Setting]:
    store = FeatureStore(stack, token="")
    store.apply(Project(GROUPS, VIEWS, {}))
    at = NOW - timedelta(hours=3)
    for group in GROUPS:
        schema = build_plan(group).schema
        values = {feature.name: 5 if "count" in feature.name else "Ann" for feature in schema.features}
        keys = {key.name: "a" for key in schema.keys}
        row = {**keys, **values, "feature_timestamp": at, "created_timestamp": at, "retracted": False}
        ensure_table(catalog, schema).overwrite(rows_table(schema, [row]))
        materialize(catalog, redis, schema, now=NOW, full=True)
    access = AccessControl(store.registry.engine)
    owner = Principal.parse("team:shop")
    secrets = {
        str(who): access.create_token(f"{who.name}_{MARK}", who, "tests").secret for who in (owner, READER)
    }  # fmt: skip
    changes = {"packages": ["tests"], "tokens_required": True}
    server = ServerProcess(tmp_path_factory.mktemp("masks"), stack.database_url("registry"), changes)
    server.start()
    yield Setting(store, server, access, secrets)
    server.stop()


def expected(owner: bool, granted: set[tuple[Scope, str, str]], read: FeatureGroup | FeatureView) -> Outcome:
    """What the rules say, by themselves."""

    def may_read(each: FeatureGroup | FeatureView) -> bool:
        kind = "group" if isinstance(each, FeatureGroup) else "view"
        by_grant = any((scope, each.name, kind) in granted for scope in ("read", "admin"))
        return each.access == "public" or by_grant or (owner and each.owner == "team:shop")

    def sees(group: FeatureGroup) -> bool:
        return owner or ("pii", group.name, "group") in granted

    of_people = {f"{PERSON.name}_name"} if not sees(PEOPLE) else set()
    of_visitors = {f"{VISITOR.name}_name"} if not sees(VISITORS) else set()
    reads = {KNOWN: [PEOPLE], MIXED: [PEOPLE, VISITORS], HIDDEN: [PEOPLE]}.get(read, [])
    if not all(map(may_read, [read, *reads])):
        return "denied"
    if read is MIXED:
        return frozenset({f"friend_{name}" for name in of_people} | of_visitors)
    if read is VISITORS:
        return frozenset(of_visitors)
    return frozenset(of_people | ({"loud"} if read is KNOWN and of_people else set()))


def keys_of(read: FeatureGroup | FeatureView) -> dict[str, str]:
    names = {KNOWN: ["person_id"], MIXED: ["friend_id", "visitor_id"], HIDDEN: ["person_id"], PEOPLE: ["person_id"]}
    return {name: ROW[name] for name in names.get(read, ["visitor_id"])}


def over_rest(setting: Setting, secret: str, read: FeatureGroup | FeatureView) -> Outcome:
    kind = "groups" if isinstance(read, FeatureGroup) else "views"
    headers = {"Authorization": f"Bearer {secret}"}
    answer = setting.server.post(f"/feature-{kind}/{read.id}/online", {"rows": [keys_of(read)]}, headers)
    if answer.status == 403:
        return "denied"
    values = dict(zip(answer.json["features"], answer.json["rows"][0], strict=True))
    return checked(frozenset(answer.json.get("masked", ())), values)


def over_grpc(setting: Setting, secret: str, read: FeatureGroup | FeatureView) -> Outcome:
    keys = [Input(name=name, column=Column(strings=[value])) for name, value in keys_of(read).items()]
    with stub_of(setting.server) as stub:
        call = stub.ReadGroup if isinstance(read, FeatureGroup) else stub.ReadView
        try:
            answer = call(ReadRequest(id=read.id, keys=keys), timeout=SECONDS, metadata=bearer(secret))
        except grpc.RpcError as error:
            return "denied" if error.code() == grpc.StatusCode.PERMISSION_DENIED else str(error)
    return checked(frozenset(answer.masked), {name: values[0] for name, values in columns_of(answer).items()})


def by_client(setting: Setting, secret: str, read: FeatureGroup | FeatureView) -> Outcome:
    return _by_client(f"http://127.0.0.1:{setting.server.port}", secret, read)


def by_client_over_grpc(setting: Setting, secret: str, read: FeatureGroup | FeatureView) -> Outcome:
    return _by_client(f"grpc://127.0.0.1:{setting.server.grpc_port}", secret, read)


def _by_client(url: str, secret: str, read: FeatureGroup | FeatureView) -> Outcome:
    kind: Any = "group" if isinstance(read, FeatureGroup) else "view"
    with FeatureStoreClient(url, secret, deadline=PATIENCE_SECONDS) as client:
        try:
            vectors = client.online(read.id, [keys_of(read)], kind=kind)
        except AccessError:
            return "denied"
    return checked(frozenset(vectors.masked), vectors.to_dicts()[0])


def in_process(setting: Setting, secret: str, read: FeatureGroup | FeatureView) -> Outcome:
    """Online, of a view; offline, of a group."""
    store = FeatureStore(setting.store.settings, token=secret)
    try:
        if isinstance(read, FeatureGroup):
            (row,) = store.read_group(read.id).to_pylist()
            return frozenset(name for name, value in row.items() if value is None)
        vectors = store.online(read.id, [keys_of(read)])
    except AccessError:
        return "denied"
    return checked(frozenset(vectors.masked), vectors.to_dicts()[0])


def in_training(setting: Setting, secret: str, read: FeatureView) -> Outcome:
    store = FeatureStore(setting.store.settings, token=secret)
    labels = [{**keys_of(read), "label_timestamp": NOW}]
    try:
        data = store.training_dataset(read.id, labels, name=f"masks_{MARK}").wait(PATIENCE_SECONDS)
    except AccessError:
        return "denied"
    assert json.loads((data.path / MANIFEST).read_text())["masked"] == [*data.masked]
    assert {name for name, rate in data.null_rates.items() if rate} == set(data.masked)
    return checked(frozenset(data.masked), data.table.to_pylist()[0])


def checked(masked: frozenset[str], values: Mapping[str, Any]) -> frozenset[str]:
    """The masked columns; they are those that have no value."""
    assert {name for name, value in values.items() if value is None} == masked
    return masked


WAYS: list[Callable[[Setting, str, Any], Outcome]] = [over_rest, over_grpc, by_client, by_client_over_grpc, in_process]


def test_the_masked_columns_are_the_same_everywhere(
    setting: Setting, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "REMEMBERED_SECONDS", 0.0)
    chance = random.Random(4)
    owner, somebody = setting.secrets["team:shop"], setting.secrets[str(READER)]
    granted: set[tuple[Scope, str, str]] = set()
    seen = set()
    for _ in range(ROUNDS):
        wanted = {grant for grant in GRANTS if chance.random() < 0.5}
        for scope, name, kind in granted - wanted:
            setting.access.ungrant(READER, scope, name, "tests", kind=kind)
        for scope, name, kind in wanted - granted:
            setting.access.grant(READER, scope, name, "tests", kind=kind)
        granted = wanted
        rules = {read: expected(False, granted, read) for read in (*VIEWS, *GROUPS)}
        eventually(lambda rules=rules: {read: over_rest(setting, somebody, read) for read in rules} == rules)
        for read, outcome in rules.items():
            assert {way.__name__: way(setting, somebody, read) for way in WAYS} == {w.__name__: outcome for w in WAYS}
            if isinstance(read, FeatureView):
                assert in_training(setting, somebody, read) == outcome
            seen.add((read.id, outcome))
    assert len(seen) >= 9, "the rounds differ"
    for read in (KNOWN, *GROUPS):
        assert [way(setting, owner, read) for way in WAYS] == [frozenset()] * len(WAYS)
    assert in_training(setting, owner, KNOWN) == frozenset()


def test_without_a_token_nothing_is_masked_and_a_bad_one_is_refused(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert in_training(setting, "", MIXED) == in_process(setting, "", VISITORS) == frozenset()
    monkeypatch.setenv("FS_TOKEN", "fs_" + "x" * 43)
    store = FeatureStore(setting.store.settings)
    labels = [{"person_id": "a", "label_timestamp": NOW}]
    for read in (
        lambda: store.online(KNOWN.id, [{"person_id": "a"}]),
        lambda: store.read_group(PEOPLE.id),
        lambda: store.training_dataset(KNOWN.id, labels, name="masks"),
    ):
        with pytest.raises(TokenError, match="no such token"):
            read()
    monkeypatch.setenv("FS_TOKEN", setting.secrets["team:shop"])
    vectors = FeatureStore(setting.store.settings).online(KNOWN.id, [{"person_id": "a"}], features=["loud"])
    assert (vectors.to_dicts(), vectors.masked) == ([{"person_id": "a", "loud": "ANN"}], ())


def test_masked_vectors_are_masked_in_every_form(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = setting.access.create_token(f"nobody_{MARK}", Principal.parse("service:nobody"), "tests").secret
    store = FeatureStore(setting.store.settings, token=nobody)
    name = f"{PERSON.name}_name"
    for features, masked in ((None, (name, "loud")), (["loud", f"{PERSON.name}_count"], ("loud",))):
        vectors = store.online(KNOWN.id, [{"person_id": "a"}, {"person_id": None}], features=features)
        assert vectors.masked == masked
        assert {row[column] for row in vectors.to_dicts() for column in masked} == {None}
        assert vectors.to_arrow().select([*masked]).to_pylist() == [dict.fromkeys(masked)] * 2
        assert [row[f"{PERSON.name}_count"] for row in vectors.to_dicts()] == [5, 7]
