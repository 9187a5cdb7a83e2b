"""Plain reads that leave the routes out, on a real Redis: the same answers, counts and samples as the routes have."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from feature_store import FeatureView
from feature_store.online.connection import connect
from feature_store.online.native.core import NativeCore
from feature_store.online.read.decoding import StoredValue
from feature_store.online.read.multiplexed import MultiplexedReader
from feature_store.online.read.node import NodeAddress, RedisNode
from feature_store.online.read.recognition import RedisStore
from feature_store.online.read.store import OnlineStore
from feature_store.registry.access.table import AccessTable
from feature_store.registry.access.tokens import Principal, Token, hash_of
from feature_store.registry.store import Registry
from feature_store.settings import Settings
from serving.auth import Gate
from serving.calls import OnlineCore
from serving.definitions import ServedDefinitions
from serving.metrics import ServingMetrics
from serving.rate import RateLimits
from serving.redis_metrics import RedisWaits, TimedStore
from serving.rest.direct import DirectRead, DirectReads
from serving.rest.online import OnlineRoutes, call_of
from serving.samples import ServedSamples
from serving.usage import UsageCounts
from tests.conftest import PATIENCE_SECONDS
from tests.integration.serving.conftest import NewRegistry
from tests.integration.serving.server_process import get
from tests.integration.serving.shop import GROUPS, ITEMS, SELLERS, USERS, VIEWS, Shop

BOTH = FeatureView("both", groups=[USERS, SELLERS.keyed_by("user_id", prefix="s_"), ITEMS], owner="team:ranking")
SECRET = "fs_" + "a" * 43
BEARER = f"Authorization: Bearer {SECRET}"
USER_FACTS, ITEM_FACTS, VIEW = (
    "/feature-groups/user_facts/online",
    "/feature-groups/item_facts@1/online",
    "/feature-views/both",
)
PLAIN = [
    get(f"{USER_FACTS}?entity_ids=a,b,nobody,,a"),
    get(f"{USER_FACTS}?entity_ids=a&shape=records&features=user_at,user_count", "X-Model: m", "X-Request-Id: mine"),
    get(f"{ITEM_FACTS}?entity_ids=0,1,-5,007,9223372036854775807"),
    get(f"{ITEM_FACTS}?shape=records&entity_ids=1,007"),
    get(f"{ITEM_FACTS}?entity_ids=0,0,1", "Accept: application/msgpack", "connection: Keep-Alive"),
    get(f"{VIEW}/online?user_id=a&item_id=0,1,5"),
    get(f"{VIEW}@1/online?item_id=0,1&user_id=a,b&shape=msgpack"),
    get(f"{VIEW}@1/online?item_id=0,1&user_id=a,b&shape=records"),
]
OTHERS = [
    get(f"{USER_FACTS}?entity_ids=%61"),
    get(f"{USER_FACTS}?entity_ids=a+b"),
    get(f"{USER_FACTS}?entity_id=a"),
    get(f"{USER_FACTS}?entity_ids=a&entity_ids=b"),
    get(f"{USER_FACTS}?entity_ids=a&user_id=b"),
    get(f"{USER_FACTS}?entity_ids=a&shape=arrow"),
    get(f"{USER_FACTS}?entity_ids=a&shape=x"),
    get(f"{USER_FACTS}?entity_ids=a&features=nothing"),
    get(f"{USER_FACTS}?entity_ids=" + ",".join(["a"] * 1_001)),
    get(USER_FACTS),
    get(f"{ITEM_FACTS}?entity_ids=x"),
    get(f"{ITEM_FACTS}?entity_ids=9223372036854775808"),
    get("/feature-groups/nothing/online?entity_ids=a"),
    get("/feature-groups/pair_facts/online?entity_ids=a"),
    get("/feature-groups/slot_facts/online?slot_at=0&shelf=1"),
    get("/feature-views/ranking/online?user_id=a&item_id=1&budget=1.5"),
    get("/feature-views/matching/online?item_id=1&buyer_id=a"),
    get(f"{VIEW}/online?user_id=a,b&item_id=0,1,5"),
    get(f"{VIEW}/online?user_id=a"),
    get(f"{USER_FACTS}?entity_ids=a", "Authorization: Bearer fs_nobody"),
    get(f"{USER_FACTS}?entity_ids=a", "Content-Length: 0"),
    get(f"{USER_FACTS}?entity_ids=a", "Connection: close"),
    get(f"{USER_FACTS}?entity_ids=a", version="1.0"),
    get(f"{USER_FACTS}?entity_ids=a") * 2,
    get("/ready?entity_ids=a"),
    get(f"{USER_FACTS}?entity_ids=a").replace(b"GET", b"POST"),
]


@dataclass
class Line:
    """A connection that takes answers."""

    routes: OnlineRoutes
    answers: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    by_routes: int = 0
    task: asyncio.Task[None] | None = None

    def default_lines(self) -> bytes:
        return b"date: today\r\n"

    def deliver(self, read: DirectRead, answer: bytes) -> None:
        assert read.done()
        self.answers.put_nowait(answer)

    def answer_by_routes(self, read: DirectRead, values: Sequence[StoredValue]) -> None:
        self.by_routes += 1
        self.task = asyncio.get_running_loop().create_task(self._answer(read, values))

    async def _answer(self, read: DirectRead, values: Sequence[StoredValue]) -> None:
        answer = await self.routes.answer(read.form.call, "GET", read.query, read.headers, None, read.begun(values))
        lines = b"HTTP/1.1 %d OK\r\n" % answer.status + self.default_lines() + answer.lines
        self.answers.put_nowait(lines + b"\r\n" + answer.body)


@dataclass
class Server:
    """The parts of a server that answer requests for vectors."""

    store: OnlineStore
    registry: Registry
    core: NativeCore | None
    table: AccessTable = field(default_factory=AccessTable)
    limits: RateLimits = field(default_factory=lambda: RateLimits(0))

    def __post_init__(self) -> None:
        self.definitions = ServedDefinitions.of(self.registry.snapshot(), (), ServedDefinitions(), self.core)
        self.waits, self.usage = RedisWaits(), UsageCounts(self.registry)
        store = TimedStore(self.store, self.waits)
        self.metrics, self.samples = ServingMetrics(lambda: True, lambda: 0.0), ServedSamples(store)
        gate = Gate(lambda: self.table, required=False, limits=self.limits)
        reader = MultiplexedReader(store)
        parts = (reader, lambda: self.definitions, self.metrics, self.usage, self.samples, gate, self.core)
        self.online = OnlineCore(*parts)
        self.routes = OnlineRoutes(self.online, PATIENCE_SECONDS)
        self.line = Line(self.routes)
        self.direct = None if self.core is None else DirectReads(self.online, self.core, self.routes, self.waits)

    async def ask_directly(self, request: bytes) -> bytes | None:
        """The answer as it is sent; None if the request is not plain."""
        assert self.direct is not None
        if self.direct.begin(request, self.line) is None:
            return None
        return await asyncio.wait_for(self.line.answers.get(), PATIENCE_SECONDS)

    async def ask_routes(self, request: bytes) -> bytes:
        """The answer of the routes."""
        start, *lines = request.decode().split("\r\n")[:-2]
        path, _, query = start.split(" ")[1].partition("?")
        headers = {n.lower().encode(): v.strip().encode() for n, _, v in (line.partition(":") for line in lines)}
        call = call_of(path)
        assert call is not None
        answer = await self.routes.answer(call, "GET", query.encode(), headers)
        assert answer.status == 200, answer.body
        return b"HTTP/1.1 200 OK\r\ndate: today\r\n" + answer.lines + b"\r\n" + answer.body

    def counts(self) -> Any:
        """What was counted and kept, but for times; a sample has what was answered first."""
        lines = [line for line in self.metrics.text().decode().splitlines() if not re.search("_seconds|_created", line)]
        windows = {key: [replace_instant(row) for row in of.rows] for key, of in self.samples._windows.items()}
        return sorted(lines), dict(self.usage._counts), windows, sum(self.waits.latencies.counts)


def replace_instant(row: Any) -> Any:
    """A served row as plain values, whatever its time."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(msgspec.structs.replace(row, instant=0)))


def alike(answer: bytes) -> Any:
    """An answer without what differs from one request to the next."""
    head, _, body = answer.partition(b"\r\n\r\n")
    head = re.sub(rb"content-length: \d+|x-request-id: \w+-\w+-\w+", b"", head)
    content: Any = msgspec.msgpack.decode(body) if b"msgpack" in head else json.loads(body)
    assert content.pop("request_time")
    return head, content


@pytest.fixture(scope="module")
def registry(stack: Settings, new_registry: NewRegistry) -> Registry:
    made = new_registry("registry_of_direct_reads")
    with connect(stack.redis_url) as redis:
        Shop.fill(made, redis, GROUPS, (*VIEWS, BOTH))
    return made


@asynccontextmanager
async def running(stack: Settings, registry: Registry, core: NativeCore | None, **given: Any) -> AsyncIterator[Server]:
    async with RedisNode(NodeAddress.parse(stack.redis_url), deadline=PATIENCE_SECONDS) as node:
        yield Server(node, registry, core, **given)


def test_answers_counts_and_samples_are_those_of_the_routes(
    stack: Settings, registry: Registry, core: NativeCore
) -> None:
    async def ask() -> None:
        async with running(stack, registry, core) as direct, running(stack, registry, None) as python:
            random.seed(7)
            found = [await direct.ask_directly(request) for request in PLAIN * 3]
            random.seed(7)
            for request, answer in zip(PLAIN * 3, found, strict=True):
                assert answer is not None, request
                assert alike(answer) == alike(await python.ask_routes(request)), request
            for one, other in zip(direct.counts(), python.counts(), strict=True):
                assert one == other
            assert 0 < direct.line.by_routes < len(PLAIN), "the routes look layouts up, once"

    asyncio.run(ask())


def test_what_is_not_plain_is_left_to_the_routes(stack: Settings, registry: Registry, core: NativeCore) -> None:
    async def ask() -> None:
        async with running(stack, registry, core) as server:
            assert await server.ask_directly(PLAIN[0]) is not None
            assert [request for request in OTHERS if await server.ask_directly(request) is not None] == []

    asyncio.run(ask())


def test_tokens_are_looked_at_every_time(stack: Settings, registry: Registry, core: NativeCore) -> None:
    made = datetime.now(UTC)
    token = Token(1, "t", Principal("service", "ranker"), frozenset({"read"}), "model", made, "tests")
    request, clock = get(f"{USER_FACTS}?entity_ids=a", BEARER), [0.0]
    limits = RateLimits(2, lambda: clock[0])

    async def ask() -> None:
        async with running(stack, registry, core, table=AccessTable({hash_of(SECRET): token}), limits=limits) as server:
            answers = [await server.ask_directly(request) for _ in range(3)]
            assert [each is None for each in answers] == [False, False, True], "two in a second"
            assert answers[1] is not None
            assert alike(answers[1])[1]["masked"] == ["user_name"], "it has no grant for personal data"
            assert server.usage._counts["group", "user_facts@1", "model"] == 2
            clock[0] += 10
            assert await server.ask_directly(request) is not None
            server.table = AccessTable({hash_of(SECRET): replace(token, revoked_at=made)})
            assert await server.ask_directly(request) is None
            server.table = AccessTable({hash_of(SECRET): replace(token, expires_at=made)})
            assert await server.ask_directly(request) is None
            server.table = AccessTable()
            assert await server.ask_directly(request) is None

    asyncio.run(ask())


def test_definitions_are_those_of_the_moment(stack: Settings, registry: Registry, core: NativeCore) -> None:
    async def ask() -> None:
        async with running(stack, registry, core) as server:
            assert await server.ask_directly(PLAIN[0]) is not None
            server.definitions = ServedDefinitions()
            assert await server.ask_directly(PLAIN[0]) is None

    asyncio.run(ask())


def test_a_redis_that_is_gone_makes_entities_unavailable(stack: Settings, registry: Registry, core: NativeCore) -> None:
    async def ask() -> None:
        async with running(stack, registry, core) as server:
            assert await server.ask_directly(PLAIN[0]) is not None
            assert server.direct is not None
            assert server.direct.begin(PLAIN[0], server.line) is not None
            assert server.store.node is not None
            connection = server.store.node.free_connection()
            assert connection is not None
            connection.end()  # before anything is sent
            answer = await asyncio.wait_for(server.line.answers.get(), PATIENCE_SECONDS)
            assert set(alike(answer)[1]["groups"][0]["statuses"]) == {"UNAVAILABLE"}
            await server.store.node.close()
            assert await server.ask_directly(PLAIN[0]) is None, "the routes know what to do"

    asyncio.run(ask())


def test_a_redis_that_comes_later_is_asked_then(stack: Settings, registry: Registry, core: NativeCore) -> None:
    async def ask() -> None:
        store = RedisStore([NodeAddress.parse(stack.redis_url)], deadline=PATIENCE_SECONDS)
        server = Server(store, registry, core)
        assert await server.ask_directly(PLAIN[0]) is None, "nobody knows what is there"
        async with store:
            assert await server.ask_directly(PLAIN[0]) is not None

    asyncio.run(ask())
