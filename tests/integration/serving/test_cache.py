"""A server that remembers values of some groups: what it gives again, what never, and what it saves Redis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from redis import Redis

from feature_store import INT, STRING, TIMESTAMP, BatchSource, Feature, FeatureGroup, FeatureView, OnDemand, agg
from feature_store.dsl.collect import Project
from feature_store.dtypes import from_micros, to_micros
from feature_store.duration import DAY, SECOND
from feature_store.online.keys import entity_key
from feature_store.online.reader import OnlineReader
from feature_store.online.writer import GuardedWriter
from feature_store.plan.build import build_plan, view_schema
from feature_store.plan.project import compile_project
from feature_store.registry.store import Registry
from tests.conftest import Eventually
from tests.integration.own_valkey import Valkey, running_valkey
from tests.integration.serving.conftest import NewRegistry, address_of
from tests.integration.serving.server_process import Answer, ServerProcess
from tests.integration.serving.shop import ITEM, SELLER, USER, facts_of

USERS = facts_of(USER, {"count": 7, "name": "?"}, pii=("name",), cache="1m")
"""Remembered for longer than a test takes."""
GROUPS = (
    USERS,
    facts_of(SELLER, {"count": 1}),
    facts_of(ITEM, {"price": None, "seller": None}, ttl="2d", cache="1m"),
)
VIEW = FeatureView(
    "both",
    groups=[USERS, GROUPS[1].keyed_by("seller_id"), GROUPS[2]],
    on_demand=[OnDemand("total", "user_count + seller_count", dtype=INT)],
    owner="team:shop",
)
CHAIN = FeatureView("chain", groups=[GROUPS[2], GROUPS[1].keyed_by("item_seller")], owner="team:shop")


def visits(cache: str | None, *windows: str) -> FeatureGroup:
    """A group that may change without a new version."""
    schema = {"user_id": STRING, "ts": TIMESTAMP}
    log = BatchSource("visits", table="raw.visits", event_timestamp="ts", schema=schema)
    counts = [Feature(f"user_visit_count_{each}", agg.count(), window=each, dtype=INT, default=3) for each in windows]
    return FeatureGroup("user_visits", entity=USER, source=log, owner="team:shop", features=counts, cache=cache)


def apply(registry: Registry, visited: FeatureGroup) -> None:
    project = Project((*GROUPS, visited), (VIEW, CHAIN), {})
    registry.apply(registry.plan(compile_project(project)), "tests")


@pytest.fixture(scope="module")
def registry(new_registry: NewRegistry) -> Registry:
    made = new_registry("registry_of_cache")
    apply(made, visits("1m", "7d"))
    return made


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with running_valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def redis(valkey: Valkey) -> Iterator[Redis]:
    with valkey.client() as client:
        yield client


@pytest.fixture(scope="module")
def server(registry: Registry, valkey: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("cache")
    process = ServerProcess(folder, address_of(registry), {"redis_url": valkey.url})
    process.start()
    yield process
    process.stop()


def now() -> int:
    return to_micros(datetime.now(UTC))


def put(redis: Redis, group: FeatureGroup, key: Any, *values: Any, at: int | None = None) -> None:
    schema, instant = build_plan(group).schema, now()
    writer = GuardedWriter(redis, schema)
    name = entity_key(schema, {column.name: key for column in schema.keys})
    assert name is not None
    writer.write([name], [writer.encode(instant if at is None else at, instant, values, instant)])
    writer.touch(from_micros(instant), instant)


def ask(server: ServerProcess, *users: str, group: str = "user_facts") -> Answer:
    answer = server.get(f"/feature-groups/{group}/online", entity_ids=",".join(users))
    assert answer.status == 200, answer.body
    return answer


def rows(server: ServerProcess, *users: str, group: str = "user_facts") -> list[Any]:
    found: list[Any] = ask(server, *users, group=group).json["rows"]
    return found


def reads(redis: Redis) -> int:
    """How many keys Redis was asked for."""
    found = redis.info("stats")
    return int(found["keyspace_hits"]) + int(found["keyspace_misses"])


def counts(server: ServerProcess) -> tuple[float, float, float]:
    """Hits, misses and size."""
    text = server.get("/metrics").body.decode()
    found = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("feature_store_cache"))
    hits, misses = (float(found[f'feature_store_cache_values_total{{result="{each}"}}']) for each in ("hit", "miss"))
    return hits, misses, float(found["feature_store_cache_size"])


def both(server: ServerProcess, user: str, shape: str = "columns") -> Answer:
    row = {"user_id": user, "seller_id": user, "item_id": 5}
    answer = server.post(f"/feature-views/both/online?shape={shape}", {"rows": [row]})
    assert answer.status == 200, answer.body
    return answer


def test_values_of_groups_that_allow_it_are_given_again(server: ServerProcess, redis: Redis) -> None:
    put(redis, GROUPS[1], "u", 1)
    put(redis, USERS, "u", 1, "Ada")
    put(redis, USERS, "layout", 1, "Ada")
    rows(server, "layout")
    before = both(server, "u").json
    assert before["rows"] == [[1, "Ada", 1, None, None, 2]]
    put(redis, GROUPS[1], "u", 2)
    put(redis, USERS, "u", 2, "Bob")
    both(server, "u", "msgpack")
    after = both(server, "u").json
    assert after["rows"] == [[1, "Ada", 2, None, None, 3]], "the user is remembered, the seller is not"
    assert after["groups"][0]["updated_at"] == before["groups"][0]["updated_at"]
    assert after["groups"][1]["updated_at"] > before["groups"][1]["updated_at"]
    asked = reads(redis)
    assert rows(server, "u") == [[1, "Ada"]], "another view, the same group"
    assert reads(redis) == asked
    hits, misses, size = counts(server)
    assert rows(server, "u", "new") == [[1, "Ada"], [7, "?"]]
    assert reads(redis) == asked + 1
    assert counts(server) == (hits + 2, misses + 1, size + 1)  # the age of the group, too
    put(redis, USERS, "new", 3, "Eve")
    assert rows(server, "u", "new") == [[1, "Ada"], [7, "?"]], "that there was no row is remembered, too"
    found = server.get("/health").json["cache"]
    assert found == {"values": size + 1, "hit_rate": pytest.approx((hits + 5) / (hits + misses + 6))}


def test_what_is_remembered_is_given_while_redis_is_gone(
    server: ServerProcess, redis: Redis, valkey: Valkey, eventually: Eventually
) -> None:
    put(redis, USERS, "known", 1, "Ada")
    put(redis, GROUPS[1], "known", 5)
    assert rows(server, "known") == [[1, "Ada"]]
    valkey.kill()
    eventually(lambda: ask(server, "other").json["groups"][0]["statuses"] == ["UNAVAILABLE"])
    found = both(server, "known").json
    assert [group["statuses"] for group in found["groups"]][:2] == [["PRESENT"], ["UNAVAILABLE"]]
    assert found["rows"][0][:3] == [1, "Ada", 1]
    valkey.start()
    eventually(lambda: ask(server, "other").json["groups"][0]["statuses"] == ["NOT_FOUND"])
    assert both(server, "known").json["rows"][0][:3] == [1, "Ada", 5], "that nobody answered is not remembered"


def test_a_row_is_not_given_past_its_expiry(server: ServerProcess, redis: Redis, eventually: Eventually) -> None:
    expiry = now() + 2 * SECOND
    put(redis, GROUPS[2], 3, 9.5, "s", at=expiry - 2 * DAY)
    answers: list[Any] = []

    def has_expired() -> bool:
        answers.append(ask(server, "3", group="item_facts").json)
        return bool(answers[-1]["groups"][0]["statuses"] == ["EXPIRED"])

    asked = reads(redis)
    eventually(has_expired)
    assert reads(redis) - asked <= 3, "the row, the group's layouts and its age, once"
    for answer in answers:
        fresh = answer["request_time"] <= expiry
        assert answer["groups"][0]["statuses"] == ["PRESENT" if fresh else "EXPIRED"]
        assert answer["rows"] == [[9.5, "s"] if fresh else [None, None]]


def test_keys_that_are_features_are_read_through_it(server: ServerProcess, redis: Redis, valkey: Valkey) -> None:
    put(redis, GROUPS[2], 1, 9.5, "s")
    put(redis, GROUPS[1], "s", 4)
    path = "/feature-views/chain/online?item_id=1,2"
    first = server.get(path).json
    with OnlineReader(valkey.url) as reader:
        expected = reader.read(view_schema(CHAIN), [{"item_id": 1}, {"item_id": 2}])
    assert [group["statuses"] for group in first["groups"]] == [[*part.statuses] for part in expected.groups]
    names = [column.name for column in expected.outputs]
    assert first["rows"] == [[row[name] for name in names] for row in expected.to_dicts()]
    put(redis, GROUPS[1], "s", 5)
    put(redis, GROUPS[2], 1, 8.0, "other")
    assert server.get(path).json["rows"][0] == [9.5, "s", 5]


def test_many_who_ask_at_once_get_what_one_gets(server: ServerProcess, redis: Redis) -> None:
    for i in range(60):
        put(redis, USERS, f"u{i}", i, f"name {i}")
    before = reads(redis)
    asked = [[f"u{(i * j) % 60}" for j in range(1, 9)] for i in range(120)]

    def read(users: Sequence[str]) -> list[Any]:
        return rows(server, *users)

    with ThreadPoolExecutor(16) as pool:
        found = [*pool.map(read, asked)]
    assert found == [[[int(user[1:]), f"name {user[1:]}"] for user in users] for users in asked]
    assert 60 <= reads(redis) - before <= 62, "each user once, the group's layouts and its age"


def test_definitions_that_change_are_followed(
    server: ServerProcess, redis: Redis, registry: Registry, eventually: Eventually
) -> None:
    """A feature that is added reads remembered rows of the old layout; a group may be remembered no more, at once."""

    def found(*users: str) -> list[Any]:
        return rows(server, *users, group="user_visits")

    put(redis, visits("1m", "7d"), "u", 1)
    assert found("u") == [[1]]
    more = visits("1m", "7d", "30d")
    apply(registry, more)
    eventually(lambda: len(found("u")[0]) == 2)
    asked = reads(redis)
    assert found("u") == [[1, 3]]
    assert reads(redis) == asked
    put(redis, more, "u", 2, 20)
    put(redis, more, "v", 5, 50)
    assert found("u", "v") == [[1, 3], [5, 50]], "of two layouts"
    apply(registry, visits(None, "7d", "30d"))
    eventually(lambda: found("u") == [[2, 20]])
