"""Many reads at once over one connection to a Valkey that is killed, stopped, slow, behind a password."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvloop

from feature_store import INT
from feature_store.dtypes import from_micros
from feature_store.duration import HOUR
from feature_store.errors import StackError
from feature_store.online.native.core import NativeCore
from feature_store.online.read.connection import NodeBusyError, NodeError
from feature_store.online.read.multiplexed import MultiplexedReader
from feature_store.online.read.node import NodeAddress, RedisNode
from feature_store.online.read.steps import ViewReading
from feature_store.online.reader import OnlineReader
from feature_store.online.vectors import OnlineVectors, Status
from feature_store.plan.schema import Column, GroupSchema, ViewSchema
from tests.conftest import PATIENCE_SECONDS
from tests.integration.online_setting import NOW, new_group, put, view_of
from tests.integration.own_valkey import Valkey, running_valkey

FEATURES = (Column("n", INT, default=-1),)


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    with running_valkey(tmp_path) as server:
        yield server


@dataclass
class Reads:
    """A group with a row of each of some entities, and a reader of it."""

    view: ViewSchema
    group: GroupSchema
    node: RedisNode
    core: NativeCore | None = None

    def __post_init__(self) -> None:
        self.reader, self.reading = MultiplexedReader(self.node), ViewReading(self.view, core=self.core)

    async def read(self, *names: Any) -> OnlineVectors:
        return await self.reader.read(self.reading, [{"user_id": name} for name in names], {}, NOW)

    async def statuses(self, *names: Any) -> list[Status]:
        return [row[self.group.id] for row in (await self.read(*names)).statuses]

    async def until(self, status: Status, name: str = "u1") -> float:
        """Reads until an entity has a status; gives the seconds."""
        began = time.monotonic()
        while await self.statuses(name) != [status]:
            assert time.monotonic() < began + PATIENCE_SECONDS
            await asyncio.sleep(0.005)
        return time.monotonic() - began


def fill(server: Valkey, group: GroupSchema, count: int = 50) -> None:
    with server.client() as client:
        for i in range(count):
            put(client, group, f"u{i}", NOW, i)


@pytest.fixture(params=["python", "native"])
def either(request: pytest.FixtureRequest) -> NativeCore | None:
    """The native core, or none."""
    found: NativeCore | None = request.getfixturevalue("core") if request.param == "native" else None
    return found


def with_reads(server: Valkey, story: Callable[[Reads], Any], core: NativeCore | None = None, **options: Any) -> None:
    group = new_group(features=FEATURES, ttl=HOUR)
    fill(server, group)

    async def tell() -> None:
        async with RedisNode(NodeAddress.parse(server.url), **options) as node:
            await story(Reads(view_of(group), group, node, core))

    uvloop.run(tell())  # as the server does


def test_many_reads_at_once_are_what_each_alone_is(valkey: Valkey, either: NativeCore | None) -> None:
    async def story(reads: Reads) -> None:
        asked = [[f"u{(i * 7 + j) % 60}" for j in range(i % 9)] for i in range(300)]
        found = await asyncio.gather(*(reads.read(*names) for names in asked))
        with OnlineReader(valkey.url) as alone:
            for names, vectors in zip(asked, found, strict=True):
                expected = alone.read(reads.view, [{"user_id": name} for name in names], from_micros(NOW))
                assert vectors.to_dicts() == expected.to_dicts()
                assert vectors.statuses == expected.statuses
                assert vectors.feature_timestamps == expected.feature_timestamps
        with valkey.client() as client:
            assert client.info("commandstats")["cmdstat_mget"]["calls"] >= 300
            assert len(client.client_list()) == 2, "one connection for all reads, and this one"

    with_reads(valkey, story, either, deadline=PATIENCE_SECONDS)


def test_a_killed_server_is_unavailable_and_back_when_it_is(valkey: Valkey, either: NativeCore | None) -> None:
    async def story(reads: Reads) -> None:
        assert await reads.statuses("u1", "nobody") == [Status.PRESENT, Status.NOT_FOUND]
        valkey.kill()
        await reads.until(Status.UNAVAILABLE)
        vectors = await reads.read("u1", None)
        assert vectors.to_dicts() == [{"user_id": "u1", "n": -1}, {"user_id": None, "n": -1}]
        assert [row[reads.group.id] for row in vectors.statuses] == [Status.UNAVAILABLE, Status.NOT_FOUND]
        assert vectors.stale == {reads.group.id: True}
        assert not reads.node.is_up
        valkey.start()
        await reads.until(Status.PRESENT)

    with_reads(valkey, story, either)


def test_a_stopped_server_costs_a_deadline_and_is_given_up(valkey: Valkey) -> None:
    async def story(reads: Reads) -> None:
        assert await reads.statuses("u1") == [Status.PRESENT]
        valkey.signal(signal.SIGSTOP)
        assert await reads.statuses("u1", "u2") == [Status.UNAVAILABLE] * 2
        assert reads.node.is_up, "it may only be slow"
        while reads.node.is_up:
            assert await reads.statuses("u1") == [Status.UNAVAILABLE]
        valkey.signal(signal.SIGCONT)
        await reads.until(Status.PRESENT)

    with_reads(valkey, story, deadline=0.05)


def test_a_server_that_loads_its_data_is_unavailable_until_it_has_them(valkey: Valkey) -> None:
    async def story(reads: Reads) -> None:
        with valkey.client() as client:
            client.mset({f"more:{i}": "x" * 100 for i in range(1_000)})
            client.bgrewriteaof()
            while (
                client.info("persistence")["aof_rewrite_in_progress"] or client.info("persistence")["aof_rewrites"] == 0
            ):
                pass
        valkey.kill()
        valkey.launch("--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")
        while "LOADING" not in reads.node.trouble:
            assert await reads.statuses("u1") == [Status.UNAVAILABLE]
            await asyncio.sleep(0.005)
        await reads.until(Status.PRESENT)

    with_reads(valkey, story)


def test_a_slow_server_is_not_asked_before_it_answers_in_time(valkey: Valkey) -> None:
    async def story(reads: Reads) -> None:
        assert await reads.statuses("u1") == [Status.PRESENT]
        slow = asyncio.gather(*(reads.node.ask("DEBUG", "SLEEP", "0.3") for _ in range(4)), return_exceptions=True)
        await asyncio.gather(*(reads.read("u1") for _ in range(5)))
        assert "overdue" in reads.node.trouble
        assert not reads.node.is_up
        with pytest.raises(NodeError, match="answers in a row were overdue"):
            reads.node.ask("PING")
        await reads.until(Status.PRESENT)
        assert reads.node.is_up
        assert len({type(each) for each in await slow}) == 1

    with_reads(valkey, story, deadline=0.1)


def test_an_answer_that_comes_too_late_is_nobody_elses(valkey: Valkey) -> None:
    async def story(reads: Reads) -> None:
        assert await reads.statuses("u1") == [Status.PRESENT]
        sleeping = reads.node.ask("DEBUG", "SLEEP", "0.3")
        late = await asyncio.gather(*(reads.read(f"u{i}") for i in range(20)))
        assert {row[reads.group.id] for vectors in late for row in vectors.statuses} == {Status.UNAVAILABLE}
        with pytest.raises(NodeError, match="in time"):
            await sleeping
        await reads.until(Status.PRESENT)
        values = [(await reads.read(f"u{i}")).to_dicts()[0]["n"] for i in range(20)]
        assert values == [*range(20)]

    with_reads(valkey, story, deadline=0.1)


def test_no_more_wait_than_may(valkey: Valkey) -> None:
    async def story(reads: Reads) -> None:
        assert await reads.statuses("u1") == [Status.PRESENT]
        found = await asyncio.gather(*(reads.read(f"u{i % 50}") for i in range(30)), return_exceptions=True)
        refused = [each for each in found if isinstance(each, NodeBusyError)]
        assert len(refused) == 10
        assert "20 commands wait" in str(refused[0])
        assert await reads.statuses("u1") == [Status.PRESENT]

    with_reads(valkey, story, most_waiting=20)


def test_a_password_is_given_and_a_wrong_one_is_named_without_it(tmp_path: Path, valkey: Valkey) -> None:
    valkey.kill()
    valkey.password = "it's%secret"
    valkey.start()
    right = NodeAddress("127.0.0.1", valkey.port, password=valkey.password)
    wrong = NodeAddress("127.0.0.1", valkey.port, password="known")

    async def story() -> None:
        async with RedisNode(right) as node:
            assert await node.ask("PING") == b"PONG"
        async with RedisNode(wrong) as node:
            with pytest.raises(NodeError, match="WRONGPASS") as refused:
                await node.ask("PING")
            assert "known" not in str(refused.value)
        assert "secret" not in repr(right)

    asyncio.run(story())


@pytest.mark.parametrize("url", ["http://a", "redis://", "redis://a:x", "redis://a/b", "nothing"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(StackError, match="not a Redis URL"):
        NodeAddress.parse(url)


def test_an_address_is_read_whole() -> None:
    address = NodeAddress.parse("rediss://me:it%27s@redis.example:7000/3")
    assert (address.host, address.port, address.username, address.password) == ("redis.example", 7000, "me", "it's")
    assert (address.database, address.tls is not None) == (3, True)
    assert NodeAddress.parse("redis://h").greeting == [("DBSIZE",)]
