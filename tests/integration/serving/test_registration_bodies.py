"""Bodies that are no definition, or a wrong one, or one of what may not be read: problems, and nothing is run."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_store.registry.store import Registry
from tests.integration.registry_setting import run
from tests.integration.serving.posting import COUNT, LOG, TRIPS, faults, post, told, trips
from tests.integration.serving.server_process import ServerProcess


@pytest.fixture
def server(posting_server: ServerProcess, posting_registry: Registry) -> Iterator[ServerProcess]:
    """The server; nothing stays posted from one test to the next."""
    yield posting_server
    run(posting_registry, "DELETE FROM feature_groups WHERE posted OR name LIKE 'user_trip%'")


@pytest.fixture
def registry(posting_registry: Registry) -> Registry:
    return posting_registry


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
    (posted,) = registry.posted()
    assert posted.is_streaming
    assert posted.definition["source"] == stream
    taken = {**stream, "name": "others", "history": {**LOG, "table": "raw.visits"}}
    assert told(post(server, trips(name="user_trips_more", source=taken, features=soon)))[0] == 422
    own = {**stream, "name": "others", "history": {**LOG, "table": "raw.other"}}
    assert ("", "posted-source") in faults(post(server, trips(name="user_trips_more", source=own, features=soon)))
