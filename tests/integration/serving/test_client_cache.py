"""A client that remembers rows gives what the store gives, never a row past its expiry, and asks the server less."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis import Redis

from feature_store import INT, AsyncFeatureStoreClient, FeatureStoreClient, FeatureView, OnDemand
from feature_store.dtypes import from_micros
from feature_store.duration import DAY, SECOND
from feature_store.online.reader import OnlineReader
from feature_store.online.vectors import OnlineVectors, Status
from feature_store.registry.store import Registry
from tests.conftest import Eventually
from tests.integration.own_valkey import Valkey, running_valkey
from tests.integration.serving.conftest import NewRegistry, address_of
from tests.integration.serving.server_process import ServerProcess
from tests.integration.serving.shop import ITEM, NAMES, NUMBERS, SELLER, USER, Shop, facts_of
from tests.integration.serving.test_cache import now, put

USERS = facts_of(USER, {"count": 7, "name": "?", "tags": None, "visits": None}, cache="1m")
ITEMS = facts_of(ITEM, {"price": None, "vector": [0.0, 0.5, 1.0], "at": None}, ttl="2d", cache="1m")
GROUPS = (USERS, ITEMS, facts_of(SELLER, {"count": 1}))
PAIRS = FeatureView("pairs", groups=[USERS, ITEMS], owner="team:shop")
VIEWS = (
    PAIRS,
    FeatureView("partly", groups=[USERS, GROUPS[2]], owner="team:shop"),
    FeatureView(
        "computing", groups=[USERS], on_demand=[OnDemand("more", "user_count + 1", dtype=INT)], owner="team:shop"
    ),
)
PATIENT = 20.0


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with running_valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="module")
def registry(new_registry: NewRegistry) -> Registry:
    return new_registry("registry_of_client_cache")


@pytest.fixture(scope="module")
def shop(registry: Registry, valkey: Valkey) -> Shop:
    with valkey.client() as client:
        return Shop.fill(registry, client, GROUPS, VIEWS)


@pytest.fixture(scope="module")
def server(
    registry: Registry, valkey: Valkey, shop: Shop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server that remembers nothing: what is old comes from clients."""
    assert shop.views
    process = ServerProcess(
        tmp_path_factory.mktemp("server"), address_of(registry), {"redis_url": valkey.url, "cache": 0}
    )
    process.start()
    yield process
    process.stop()


@pytest.fixture
def redis(valkey: Valkey) -> Iterator[Redis]:
    with valkey.client() as client:
        yield client


@pytest.fixture
def url(server: ServerProcess) -> str:
    return f"http://127.0.0.1:{server.port}"


def answered(server: ServerProcess) -> int:
    """How many reads the server has answered."""
    lines = server.get("/metrics").body.decode().splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith("feature_store_requests_total"))


def reads_of(client: FeatureStoreClient | AsyncFeatureStoreClient) -> Callable[..., OnlineVectors]:
    """Reads with threads or an event loop."""
    if isinstance(client, FeatureStoreClient):
        return client.online

    async def read(name: str, rows: Any, given: dict[str, Any]) -> OnlineVectors:
        assert isinstance(client, AsyncFeatureStoreClient)
        return await client.online(name, rows, **given)

    return lambda name, rows, **given: asyncio.run(read(name, rows, given))


@pytest.mark.parametrize("scheme", ["http", "grpc"])
@pytest.mark.parametrize("kind", [FeatureStoreClient, AsyncFeatureStoreClient])
def test_vectors_are_those_of_the_store_wherever_their_rows_come_from(
    kind: type[FeatureStoreClient | AsyncFeatureStoreClient],
    scheme: str,
    server: ServerProcess,
    shop: Shop,
    valkey: Valkey,
) -> None:
    chance = random.Random(11)
    url = f"{scheme}://127.0.0.1:{server.port if scheme == 'http' else server.grpc_port}"
    client = kind(url, "", cache_seconds=60, cache_entries=40, deadline=PATIENT)
    read = reads_of(client)
    view = shop.views["view", "pairs@1"]
    with OnlineReader(valkey.url) as reader:
        for _ in range(40):
            rows = [
                {"user_id": chance.choice([*NAMES, None]), "item_id": chance.choice([*NUMBERS, None])}
                for _ in range(chance.choice([1, 2, 9]))
            ]
            features = chance.choice([None, ["user_name", "item_vector"], ["item_at"]])
            vectors = read("pairs", rows, features=features)
            expected = reader.read(view, rows, from_micros(vectors.instant))
            expected = expected if features is None else expected.select(features)
            assert vectors.to_dicts() == expected.to_dicts()
            assert vectors.statuses == expected.statuses
            assert vectors.feature_timestamps == expected.feature_timestamps
            assert (vectors.stale, vectors.updated_at) == (expected.stale, expected.updated_at)
            assert vectors.to_arrow() == expected.to_arrow()
    assert client.cache is not None
    assert client.cache.hits > 30
    assert client.cache.entries <= 40


def test_a_server_is_not_asked_for_what_is_remembered(server: ServerProcess, redis: Redis, url: str) -> None:
    for i in range(20):
        put(redis, USERS, f"m{i}", i, "Ada", ["x"], [])
    with FeatureStoreClient(url, "", cache_seconds=60, deadline=PATIENT) as client:
        client.online("user_facts", [{"user_id": "m0"}], kind="group")
        before = answered(server)
        rows = [{"user_id": f"m{i}"} for i in range(20)]

        def read(_: int) -> list[Any]:
            return [row["user_count"] for row in client.online("user_facts", rows, kind="group").to_dicts()]

        with ThreadPoolExecutor(16) as pool:
            assert [*pool.map(read, range(64))] == [[*range(20)]] * 64
        assert answered(server) == before + 1, "all others wait for the first one, or come after it"
        put(redis, USERS, "m1", 100, "Bob", [], [])
        assert read(0) == [*range(20)]
        assert client.cache is not None
        assert client.cache.hits + client.cache.misses == 1 + 65 * 20
    with FeatureStoreClient(url, "", deadline=PATIENT) as other:
        assert other.cache is None
        assert other.online("user_facts", rows[1:2], kind="group").to_dicts()[0]["user_count"] == 100


def test_calls_of_an_event_loop_that_miss_a_row_ask_for_it_once(server: ServerProcess, redis: Redis, url: str) -> None:
    for i in range(10):
        put(redis, USERS, f"e{i}", i, "Ada", [], [])

    async def story() -> None:
        async with AsyncFeatureStoreClient(url, "", cache_seconds=60, deadline=PATIENT) as client:
            await client.online("user_facts", [{"user_id": "e"}], kind="group")
            before = answered(server)
            asked = [[{"user_id": f"e{i}"}, {"user_id": f"e{(i + 1) % 10}"}] for i in range(10)] * 3
            found = await asyncio.gather(*(client.online("user_facts", rows, kind="group") for rows in asked))
            numbers = [[row["user_count"] for row in vectors.to_dicts()] for vectors in found]
            assert numbers == [[i, (i + 1) % 10] for i in range(10)] * 3
            assert answered(server) - before <= 10

    asyncio.run(story())


def test_a_row_is_not_given_past_its_expiry(redis: Redis, url: str, eventually: Eventually) -> None:
    expiry = now() + 2 * SECOND
    put(redis, ITEMS, 70, 9.5, [1, 2, 3], None, at=expiry - 2 * DAY)
    put(redis, ITEMS, 71, 1.5, [1, 2, 3], None)
    with FeatureStoreClient(url, "", cache_seconds=60, deadline=PATIENT) as client:

        def has_expired() -> bool:
            began = now()
            vectors = client.online("item_facts", [{"item_id": 70}, {"item_id": 71}], kind="group")
            first, second = (row["item_facts@1"] for row in vectors.statuses)
            assert second == Status.PRESENT
            if first == Status.PRESENT:
                assert began <= expiry
                assert vectors.instant <= expiry
                return False
            assert now() > expiry
            assert (first, vectors.to_dicts()[0]["item_price"]) == (Status.EXPIRED, None)
            return True

        eventually(has_expired)
        put(redis, ITEMS, 70, 3.5, [1, 2, 3], None)
        assert client.online("item_facts", [{"item_id": 70}], kind="group").to_dicts()[0]["item_price"] == 3.5


def test_views_that_may_not_be_remembered_are_asked_for_each_time(server: ServerProcess, url: str) -> None:
    asked: list[tuple[str, dict[str, Any]]] = [
        ("partly", {"user_id": "a", "seller_id": "b"}),
        ("computing", {"user_id": "a"}),
    ]
    with FeatureStoreClient(url, "", cache_seconds=60, deadline=PATIENT) as client:
        for name, row in asked:
            before = answered(server)
            for _ in range(3):
                client.online(name, [row])
            assert answered(server) == before + 3
        assert client.cache == (0, 0, 0)


def test_what_is_remembered_is_given_while_the_server_does_not_answer(server: ServerProcess, url: str) -> None:
    assert server.process is not None
    rows = [{"user_id": "a", "item_id": 1}]
    with FeatureStoreClient(url, "", cache_seconds=60, deadline=PATIENT) as client:
        before = client.online("pairs", rows).to_dicts()
        server.process.send_signal(signal.SIGSTOP)
        try:
            assert client.online("pairs", rows).to_dicts() == before
        finally:
            server.process.send_signal(signal.SIGCONT)
