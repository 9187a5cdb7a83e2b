"""Registering groups over HTTP: on the real server and registry, beside definitions in code."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_store.dsl.collect import Project
from feature_store.dsl.group import FeatureGroup
from feature_store.errors import ConflictError, DefinitionErrors
from feature_store.online.connection import connect
from feature_store.plan.project import CompiledProject, compile_project
from feature_store.registry import commands
from feature_store.registry.access.store import AccessControl
from feature_store.registry.access.tokens import Principal
from feature_store.registry.posted import with_posted
from feature_store.registry.store import Registry
from feature_store.registry.tables import Status
from feature_store.settings import Settings
from tests.conftest import Eventually
from tests.integration.own_valkey import free_port
from tests.integration.registry_setting import run
from tests.integration.serving.conftest import NewRegistry, address_of
from tests.integration.serving.server_process import Answer, ServerProcess
from tests.integration.serving.shop import GROUPS, USERS, VIEWS, Shop

DATABASE = "registry_of_registration"
COUNT = {
    "name": "user_trip_count_7d",
    "agg": {"function": "count"},
    "window": "7d",
    "dtype": "INT",
    "default": 0,
}
TRIPS: dict[str, Any] = {
    "name": "user_trips",
    "entity": "user",
    "source": "visits",
    "owner": "team:trips",
    "description": "Reisen, é|☃",
    "features": [COUNT],
}
LOG = {
    "name": "trips",
    "table": "raw.trips",
    "event_timestamp": "ts",
    "schema": {"user_id": "STRING", "ts": "TIMESTAMP"},
}


@pytest.fixture(scope="module")
def registry(stack: Settings, new_registry: NewRegistry) -> Registry:
    """A registry that groups are posted to."""
    made = new_registry(DATABASE)
    with connect(stack.redis_url) as redis:
        Shop.fill(made, redis)
    return made


@pytest.fixture(scope="module")
def server(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that groups are posted to; no Dagster is where it looks for it."""
    changes = {"dagster_url": f"http://127.0.0.1:{free_port()}"}
    process = ServerProcess(tmp_path_factory.mktemp("registration"), address_of(registry), changes)
    process.start()
    yield process
    process.stop()


@pytest.fixture(autouse=True)
def clean(registry: Registry) -> Iterator[None]:
    """Nothing stays posted from one test to the next."""
    yield
    run(registry, "DELETE FROM feature_groups WHERE posted OR name LIKE 'user_trip%'")


def trips(**changes: Any) -> dict[str, Any]:
    return {**TRIPS, **changes}


def post(server: ServerProcess, given: Any, query: str = "", **headers: str) -> Answer:
    return server.post(f"/feature-groups{query}", given, headers)


def told(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json["code"] if answer.status >= 400 else answer.json["outcome"]


def faults(answer: Answer) -> list[tuple[str, str]]:
    assert told(answer) == (422, "wrong-definition"), answer.body
    return [(fault["pointer"], fault["code"]) for fault in answer.json["errors"]]


def code(*added: FeatureGroup, groups: tuple[FeatureGroup, ...] = GROUPS) -> Project:
    return Project((*groups, *added), VIEWS, {})


def planned(registry: Registry, project: Project) -> CompiledProject:
    """The project as plan and apply see it."""
    return compile_project(with_posted(project, registry.posted()))


def test_a_posted_group_is_recorded_and_served(server: ServerProcess, registry: Registry) -> None:
    would = post(server, TRIPS, "?plan=true")
    assert told(would) == (200, "planned")
    assert [(each["action"], each["id"]) for each in would.json["changes"]] == [("create", "user_trips@1")]
    assert server.get("/feature-groups/user_trips").status == 404

    made = post(server, TRIPS)
    assert told(made) == (201, "created")
    assert made.headers["location"] == made.json["url"] == "/feature-groups/user_trips@1"
    assert made.json["dagster"]["status"] == "failed"  # the group stands all the same
    shown = server.get(made.json["url"]).json  # at once
    assert (shown["definition"], shown["posted"]) == (made.json["definition"], True)
    assert shown["created_by"] == "rest"
    assert server.get("/feature-groups/user_trips/online?entity_ids=a").json["features"] == [COUNT["name"]]
    (entry, *_) = AccessControl(registry.engine).entries()
    assert (entry.by, entry.action) == ("rest", "apply")
    assert entry.details == {"changes": ["create feature group user_trips@1"]}

    for again in (
        TRIPS,
        made.json["definition"],
        {**shown["definition"], "entity": {"name": "user", "join_key": "user_id"}},
    ):
        assert told(post(server, again)) == (200, "unchanged")
    changed = post(server, trips(description="Trips."))
    assert told(changed) == (200, "updated")
    assert "location" not in changed.headers
    assert server.get(made.json["url"]).json["description"] == "Trips."


def test_what_the_code_has_is_the_codes(server: ServerProcess, registry: Registry) -> None:
    recorded = server.get("/feature-groups/user_visits").json
    assert told(post(server, recorded["definition"])) == (200, "unchanged")
    assert not registry.group("user_visits@1").posted
    changed = {**recorded["definition"], "description": "Other."}
    assert told(post(server, changed)) == (409, "defined-in-code")
    assert told(post(server, changed, "?plan=true")) == (409, "defined-in-code")
    second = {**recorded["definition"], "version": 2, "features": [COUNT]}
    assert told(post(server, {**second, "name": "user_trips"})) == (201, "created")


def test_plan_and_apply_keep_what_was_posted(server: ServerProcess, registry: Registry) -> None:
    post(server, TRIPS)
    plan = registry.plan(planned(registry, code()))
    assert (plan.changes, plan.no_longer_defined) == ((), ())
    # the code changes the source that the posted group names, and both follow
    visits = GROUPS[-1]
    assert visits.source is not None
    moved = FeatureGroup.from_json(
        {**visits.to_json(), "source": {**visits.source.to_json(), "description": "Of users."}}
    )
    compiled = planned(registry, code(groups=(*GROUPS[:-1], moved)))
    assert compiled.groups["user_trips@1"].group.source == moved.source
    plan = registry.plan(compiled)
    assert {change.id for change in plan.safe} == {"user_visits@1", "user_trips@1"}
    # a source of its own stays, and clashes where the code takes its name
    assert post(server, trips(name="user_trips_own", source=LOG)).status == 201
    other = FeatureGroup.from_json(
        {**visits.to_json(), "name": "user_others", "source": {**LOG, "table": "raw.others"},
         "features": [{**COUNT, "name": "user_other_count_7d"}]}
    )  # fmt: skip
    with pytest.raises(DefinitionErrors, match="two different sources have the name 'trips'"):
        planned(registry, code(other))


def test_what_was_posted_becomes_code(
    server: ServerProcess, registry: Registry, stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(server, trips(source=LOG, derived={"user_trip_share": "user_trip_count_7d / 7.0"}))
    monkeypatch.setattr(commands, "DATABASE", DATABASE)
    printed = CliRunner().invoke(commands.export, ["user_trips@1"])
    assert printed.exit_code == 0, printed.output
    assert "from feature_defs.shop" not in printed.stdout  # whose user is another one
    assert "put this into a module of feature_defs/ and run ./fs apply" in printed.stderr
    names: dict[str, Any] = {}
    exec(printed.stdout, names)
    written = names["user_trips"]
    recorded = registry.group("user_trips@1")
    assert {**written.to_json(), "entity": "user"} == recorded.definition

    compiled = planned(registry, code(written))
    assert compiled.groups["user_trips@1"].fingerprint == recorded.fingerprint
    plan = registry.plan(compiled)
    (change,) = plan.changes
    assert [str(detail) for detail in change.details] == ["kept in: the registry, where it was posted to -> the code"]
    assert not change.breaking
    registry.apply(plan, "tests")
    taken = registry.group("user_trips@1")
    assert (taken.posted, taken.definition, taken.fingerprint) == (False, recorded.definition, recorded.fingerprint)
    assert registry.plan(planned(registry, code(written))).changes == ()
    assert told(post(server, trips(source=LOG))) == (409, "defined-in-code")


def test_a_change_that_breaks_is_refused(server: ServerProcess) -> None:
    post(server, TRIPS)
    broken = trips(features=[{**COUNT, "window": "30d", "rename_ok": "a test"}])
    answer = post(server, broken)
    assert told(answer) == (409, "breaking-change")
    assert "version=2" in answer.json["detail"]
    (would,) = post(server, broken, "?plan=true").json["changes"]
    assert would["breaking"]
    assert told(post(server, trips(entity={"name": "user", "join_key": "customer"}))) == (422, "wrong-definition")
    assert told(post(server, trips(entity={"name": "user", "join_key": "user_id", "description": "Me."}))) == (
        409,
        "recorded-otherwise",
    )


def test_a_retired_group_stays_retired(server: ServerProcess, registry: Registry) -> None:
    post(server, trips(version=2))
    post(server, trips(deprecated={"successor": "user_trips@2", "removal": "2020-01-31"}))
    registry.retire("user_trips@1", "tests")
    assert registry.group("user_trips@1").status is Status.RETIRED
    assert told(post(server, TRIPS)) == (409, "breaking-change")
    assert {each.id for each in registry.posted()} == {"user_trips@2"}


def test_every_fault_is_named_with_its_place(server: ServerProcess) -> None:
    shaped = trips(
        version="one",
        colour="red",
        entity={"name": 1},
        ttl="3 days",
        features=[{"name": "x", "dtype": 5, "window": []}, COUNT, 7],
        source={"name": "s", "schema": {"a/b": "TEXT"}},
    )
    pointers = [pointer for pointer, _ in faults(post(server, shaped))]
    assert sorted(pointers) == sorted(
        ["/version", "/colour", "/entity/name", "/entity/join_key", "/ttl", "/features/0/dtype", "/features/0/window",
         "/features/2", "/source/event_timestamp", "/source/schema/a~1b"]
    )  # fmt: skip
    meant = trips(
        owner="nobody",
        where="nope = 1",
        features=[COUNT, {**COUNT, "name": "user_x_7d", "dtype": "STRING"}],
        columns={"c": "later + 1"},
        derived={"user_y": "zz / 2"},
    )
    assert faults(post(server, meant)) == [
        ("/owner", "owner"), ("/columns/c", "unknown-column"), ("/where", "unknown-column"), ("/features/1", "type"),
        ("/features/1", "default"), ("/derived/user_y", "unknown-column"),
    ]  # fmt: skip
    named = trips(entity="usr", source="visit")
    answer = post(server, named)
    assert faults(answer) == [("/entity", "not-recorded"), ("/source", "not-recorded")]
    assert "did you mean 'user'?" in answer.json["errors"][0]["remedy"]
    for other in ([], 3, "user_trips", None):
        assert faults(post(server, other)) == [("", "not-recorded")]


@pytest.mark.parametrize(
    "changes",
    [
        {"source": None, "sources": ["visits"], "features": [{"name": "user_n", "dtype": "INT"}],
         "query": "SELECT user_id, count(*) AS user_n FROM read_csv('/etc/passwd') GROUP BY user_id"},
        {"source": None, "sources": ["visits"], "features": [{"name": "user_n", "dtype": "INT"}],
         "query": "SELECT user_id, nextval('x') AS user_n FROM visits"},
        {"where": "java_method('java.lang.System', 'exit', 1) = 1"},
        {"on_demand": [{"name": "user_x", "dtype": "INT", "function": "os:system"}]},
        {"transform": "lambda rows: rows"},
        {"where": f"{'(' * 5_000}true{')' * 5_000}"},
        {"where": " AND ".join(["true"] * 20_000)},
    ],
)  # fmt: skip
def test_nothing_in_a_body_is_run(server: ServerProcess, changes: dict[str, Any]) -> None:
    answer = post(server, {name: value for name, value in trips(**changes).items() if value is not None})
    assert answer.status in (400, 422), answer.body
    assert answer.json["code"] in ("wrong-definition", "malformed-request")


def test_what_is_no_definition(server: ServerProcess) -> None:
    def sent(body: bytes, **headers: str) -> tuple[int, str]:
        return told(server.ask("POST", "/feature-groups", body, headers))

    assert sent(b"{") == sent(b"") == sent(b"\xff\xfe") == (400, "malformed-request")
    assert sent(b"[" * 100_000) == (400, "malformed-request")
    assert sent(json.dumps(trips(description="\0")).encode()) == (400, "malformed-request")
    assert sent(json.dumps(trips(description="\ud800")).encode()) == (400, "malformed-request")
    assert sent(b"name: user_trips", **{"Content-Type": "application/yaml"}) == (415, "media-type")
    assert sent(json.dumps(trips(description="x" * (1 << 20))).encode()) == (413, "large-request")
    assert told(post(server, TRIPS, "?plan=perhaps")) == (400, "malformed-request")
    assert faults(post(server, trips(version=10**30))) == [("/version", "version")]
    schemas = server.get("/openapi.json").json["components"]
    jsonschema.validate(TRIPS, {"$ref": "#/components/schemas/PostedGroup", "components": schemas})
    wild = post(server, trips(features=[{**COUNT, "default": 10**30}]))
    jsonschema.validate(wild.json, {"$ref": "#/components/schemas/Problem", "components": schemas})
    assert faults(wild) == [("/features/0", "default")]
    assert server.ask("PUT", "/feature-groups").status == 405


def parts(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places in JSON."""
    yield place
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from parts(item, (*place, key))


WHOLE = trips(
    source={**LOG, "event_id": "user_id", "deduplicate_within": "1d"},
    entity={"name": "user", "join_key": "user_id"},
    columns={"late": "ts > TIMESTAMP '2026-01-01 00:00:00'"},
    where="late",
    derived={"user_trip_share": "user_trip_count_7d / 7.0"},
    features=[{**COUNT, "expect": {"min": 0}, "where": "late"}],
    deprecated={"successor": "user_trips@2", "removal": "2027-01-31"},
    expect_rows={"low": 0.5},
    tags={"a": "b"},
    ttl="30d",
)
PLACES = [*parts(WHOLE)]
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda values: st.lists(values, max_size=2) | st.dictionaries(st.text(max_size=4), values, max_size=2),
    max_leaves=3,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(PLACES), ANY)
def test_a_wrong_value_anywhere_is_a_fault_of_the_caller(
    server: ServerProcess, place: tuple[Any, ...], value: Any
) -> None:
    body = copy.deepcopy({"whole": WHOLE})
    inside: Any = body
    for key in ("whole", *place)[:-1]:
        inside = inside[key]
    inside[("whole", *place)[-1]] = value
    answer = post(server, body["whole"], "?plan=true")
    assert answer.status in (200, 400, 409, 422), (body, answer.body)
    for fault in answer.json.get("errors", ()):
        assert fault["pointer"] == "" or fault["pointer"].startswith("/")


def test_what_a_posted_group_may_not_read(server: ServerProcess) -> None:
    for place in (
        {"jdbc": "registry.public.tokens"},
        {"jdbc": "shop.pg_catalog.pg_authid"},
        {"path": "/etc/*.csv"},
        {"path": "raw/../secrets/x.csv"},
        {"path": "file:///etc/x.csv"},
    ):
        source = {name: value for name, value in LOG.items() if name != "table"}
        assert faults(post(server, trips(source={**source, **place}))) == [("", "posted-source")]
    assert told(post(server, trips(source={**LOG, "table": "raw.any"}))) == (201, "created")


def test_a_stream_may_be_posted(server: ServerProcess, registry: Registry) -> None:
    stream = {"name": "rides", "topic": "rides", "schema": LOG["schema"], "event_timestamp": "ts"}
    soon = [{**COUNT, "name": "user_trip_count_30m", "window": "30m"}]
    assert told(post(server, trips(source=stream, features=soon))) == (201, "created")
    assert planned(registry, code()).groups["user_trips@1"].stream is not None
    taken = {**stream, "name": "others", "history": {**LOG, "table": "raw.visits"}}
    assert told(post(server, trips(name="user_trips_more", source=taken, features=soon)))[0] == 422
    own = {**stream, "name": "others", "history": {**LOG, "table": "raw.other"}}
    assert ("", "posted-source") in faults(post(server, trips(name="user_trips_more", source=own, features=soon)))


def test_who_may_register(server: ServerProcess, registry: Registry, eventually: Eventually) -> None:
    control = AccessControl(registry.engine)

    def bearer(name: str, of: str, *scopes: str) -> dict[str, str]:
        secret = control.create_token(name, Principal.parse(of), "tests", scopes=scopes).secret
        headers = {"Authorization": f"Bearer {secret}"}
        eventually(lambda: server.get("/feature-groups", headers).status == 200)
        return headers

    reader, writer = bearer("reader", "team:trips", "read"), bearer("writer", "team:trips", "read", "write")
    other, admin = bearer("other", "team:other", "read", "write"), bearer("admin", "service:ops", "admin")
    assert told(post(server, TRIPS, **reader)) == (403, "access-denied")
    assert told(post(server, TRIPS, **other)) == (403, "access-denied")
    assert told(post(server, TRIPS, Authorization="Bearer nonsense")) == (401, "token-malformed")
    assert told(post(server, TRIPS, "?plan=true", **other)) == (403, "access-denied")
    assert told(post(server, TRIPS, **writer)) == (201, "created")
    assert registry.group("user_trips@1").created_by == "team:trips (token writer)"
    # the next version of what others own, under an owner of one's own
    assert told(post(server, trips(version=2, owner="team:other"), **other)) == (403, "access-denied")
    assert told(post(server, trips(owner="team:other"), **admin)) == (200, "updated")
    assert told(post(server, TRIPS, **writer)) == (403, "access-denied")
    # rows of others: not what is private, and no personal data
    rows = USERS.as_source()
    chained = trips(name="user_trips_chained", source=rows.to_json(), features=[{**COUNT, "name": "user_row_count_7d"}])
    assert told(post(server, chained, **writer)) == (403, "access-denied")
    hidden = {**rows.to_json(), "name": "any", "of_group": ""}
    assert told(post(server, {**chained, "source": hidden}, **writer)) == (403, "access-denied")
    seen = {**rows.to_json(), "schema": {k: v for k, v in rows.to_json()["schema"].items() if k != "user_name"}}
    assert told(post(server, {**chained, "source": seen}, **writer)) == (201, "created")


def test_posts_at_once_and_beside_an_apply(server: ServerProcess, registry: Registry) -> None:
    ended = threading.Event()

    def apply() -> int:
        times = 0
        while not ended.is_set():
            more = FeatureGroup.from_json({**GROUPS[-1].to_json(), "description": f"The {times}th."})
            with suppress(ConflictError):  # a group was posted since it was planned
                registry.apply(registry.plan(planned(registry, code(groups=(*GROUPS[:-1], more)))), "tests")
                times += 1
        return times

    names = [f"user_trips_{number}" for number in range(6)]
    with ThreadPoolExecutor(8) as pool:
        applying = pool.submit(apply)
        same = [pool.submit(post, server, TRIPS) for _ in range(2)]
        posts = [pool.submit(post, server, trips(name=name)) for name in names]
        answers = [told(each.result()) for each in posts]
        ended.set()
    assert sorted(told(each.result()) for each in same) == [(200, "unchanged"), (201, "created")]
    assert applying.result() > 0
    assert answers == [(201, "created")] * len(names)
    assert {each.id for each in registry.posted()} == {"user_trips@1", *(f"{name}@1" for name in names)}


def test_without_a_registry_nothing_is_registered(server: ServerProcess, registry: Registry) -> None:
    lost = ServerProcess(server.folder, "postgresql+psycopg2://fs:secret@127.0.0.1:1/registry")
    lost.start()  # with what the other server has kept
    try:
        assert told(post(lost, TRIPS)) == (503, "registry-down")
        assert lost.get("/feature-groups/user_facts/online?entity_ids=a").status == 200
    finally:
        lost.stop()
