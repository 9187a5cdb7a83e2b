"""Nodes of a Redis Cluster are killed and stopped, slots move: what reads and writes say meanwhile and afterwards."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
import uvloop
from pyiceberg.catalog.sql import SqlCatalog
from redis import Redis
from redis.crc import key_slot

from feature_store import INT
from feature_store.dtypes import from_micros
from feature_store.duration import DAY
from feature_store.errors import StackError
from feature_store.online.connection import connect
from feature_store.online.keys import entity_key
from feature_store.online.materialize import materialize
from feature_store.online.native.core import NativeCore
from feature_store.online.progress import last_updated
from feature_store.online.read.multiplexed import MultiplexedReader
from feature_store.online.read.node import NodeAddress
from feature_store.online.read.recognition import RedisStore
from feature_store.online.read.steps import ViewReading
from feature_store.online.reader import OnlineReader
from feature_store.online.vector_sets import keep_sets, vector_sets
from feature_store.online.vectors import Status
from feature_store.online.writer import GuardedWriter
from feature_store.plan.schema import Column, GroupSchema, ViewedSchema, ViewSchema
from feature_store.streaming.loaded import LoadedPlaces
from tests.conftest import PATIENCE_SECONDS
from tests.integration import online_tables
from tests.integration.counting_reader import CountingReader
from tests.integration.online_setting import NOW, new_group, put, view_of
from tests.integration.online_tables import START, TODAY, Row, online, write_day
from tests.integration.own_cluster import ClusterMember, OwnCluster, running_cluster

NUMBERS = (Column("n", INT, default=-1),)
USERS = [f"u{i}" for i in range(40)]
READERS = 4
"""That read all the time."""


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnCluster]:
    """A cluster that replaces a primary a second after it is gone."""
    with running_cluster(tmp_path_factory.mktemp("quick"), node_timeout=1_000) as running:
        yield running


@dataclass
class Reads:
    """A group with the number of each user, and reads of all of them at once."""

    store: RedisStore
    group: GroupSchema
    expected: dict[str, int]
    core: NativeCore | None
    seen: set[tuple[str, Status]] = field(default_factory=set)
    count: int = 0

    def __post_init__(self) -> None:
        self._reader, self._reading = MultiplexedReader(self.store), ViewReading(view_of(self.group), core=self.core)

    async def statuses(self) -> Mapping[str, Status]:
        """Reads all users: each has its number, or the default and is UNAVAILABLE."""
        rows = [{"user_id": name} for name in self.expected]
        vectors = await self._reader.read(self._reading, rows, {}, NOW)
        found = {}
        for name, row, (status,) in zip(
            self.expected, vectors.to_dicts(), (row.values() for row in vectors.statuses), strict=True
        ):
            assert (row["n"], status) in {(self.expected[name], Status.PRESENT), (-1, Status.UNAVAILABLE)}, name
            found[name] = status
        self.seen |= {*found.items()}
        self.count += 1
        return found

    async def until(self, condition: Callable[[Mapping[str, Status]], bool]) -> float:
        """Reads until the statuses are as wanted; gives the seconds."""
        began = time.monotonic()
        while not condition(await self.statuses()):
            assert time.monotonic() < began + PATIENCE_SECONDS
            await asyncio.sleep(0)
        return time.monotonic() - began

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Others read all the time as well."""
        ended = False

        async def read() -> None:
            while not ended:
                await self.statuses()
                await asyncio.sleep(0)

        tasks = [asyncio.create_task(read()) for _ in range(READERS)]
        yield
        ended = True
        await asyncio.gather(*tasks)


def all_are(status: Status, *names: str) -> Callable[[Mapping[str, Status]], bool]:
    return lambda found: {found[name] for name in names or found} == {status}


def fill(client: Redis, group: GroupSchema) -> dict[str, int]:
    for i, name in enumerate(USERS):
        put(client, group, name, NOW, i)
    return {name: i for i, name in enumerate(USERS)}


def users_of(cluster: OwnCluster, member: ClusterMember) -> list[str]:
    return [name for name in USERS if cluster.primary_of(name) is member]


@asynccontextmanager
async def reads_of(
    cluster: OwnCluster, group: GroupSchema, core: NativeCore | None, **options: object
) -> AsyncIterator[Reads]:
    """Rows of a group that replicas have, too, and reads of them by a server that has met their layout."""
    with connect(cluster.url) as client:
        expected = fill(client, group)
    for member in cluster.primaries():
        with cluster.node(member) as node:
            assert node.wait(1, 0) == 1
    addresses = [NodeAddress.parse(cluster.url_of(member)) for member in cluster.members[:3]]
    async with RedisStore(addresses, core=core, **options) as store:  # type: ignore[arg-type]
        reads = Reads(store, group, expected, core)
        await reads.until(all_are(Status.PRESENT))
        reads.seen.clear()
        yield reads


@pytest.mark.parametrize(("replicas", "way"), [("never", "native"), ("fallback", "native"), ("fallback", "python")])
def test_a_killed_primary_is_replaced(quick: OwnCluster, core: NativeCore, replicas: str, way: str) -> None:
    group = new_group(features=NUMBERS)
    quick.restore()
    victim = quick.primary_of("u1")
    lost = users_of(quick, victim)

    async def story() -> None:
        async with (
            reads_of(quick, group, core if way == "native" else None, deadline=10.0, replicas=replicas) as reads,
            reads.going_on(),
        ):
            victim.kill()
            killed = time.monotonic()
            await reads.until(lambda _: not reads.store.is_up)
            assert set(reads.store.troubles) == {victim.address}
            await reads.until(lambda found: reads.store.is_up and all_are(Status.PRESENT)(found))
            seconds = time.monotonic() - killed
            missed = {name for name, status in reads.seen if status is Status.UNAVAILABLE}
            assert missed == (set(lost) if replicas == "never" else set())
            assert reads.expected == await asyncio.to_thread(written_again, quick, group, reads.expected)
        sys.stdout.write(f"replicas={replicas}: all keys again {seconds:.2f} s after the kill, {reads.count} reads\n")

    uvloop.run(story())


def written_again(cluster: OwnCluster, group: GroupSchema, expected: dict[str, int]) -> dict[str, int]:
    """What a reader in process finds once all rows are written anew."""
    with connect(cluster.url_of(*cluster.members)) as client, OnlineReader(client) as reader:
        fill(client, group)
        rows = reader.read(view_of(group), [{"user_id": name} for name in expected], from_micros(NOW)).to_dicts()
    return {row["user_id"]: row["n"] for row in rows}


def test_a_writer_waits_for_the_place_of_a_killed_primary(quick: OwnCluster) -> None:
    group, other = (new_group(features=NUMBERS) for _ in range(2))
    quick.restore()
    victim = quick.primary_of("u1")
    roles = ViewedSchema(group), ViewedSchema(other, prefix="other_")
    joined = ViewSchema(f"joined_{group.name}", 1, roles, prejoin=True)
    with connect(quick.url_of(*quick.members)) as client:
        keep_sets(client, vector_sets([joined]), [group.id])
        writer = GuardedWriter(client, group)
        keys = [entity_key(group, {"user_id": name}) or "" for name in USERS]
        for number in range(6):
            at = NOW + number
            if number == 2:
                victim.kill()
            began = time.monotonic()
            written = writer.write(keys, [writer.encode(at, at, [number], at) for _ in keys])
            assert written.written + written.stale == len(keys)
            if number == 2:
                sys.stdout.write(f"a write was done {time.monotonic() - began:.2f} s after its primary was killed\n")
        writer.touch(from_micros(NOW), NOW)
        vectors = [client.get(f"{joined.id}:user_id:{{{name}}}") for name in USERS]
        stored = [client.get(key) for key in keys]
        assert [msgspec.msgpack.decode(vector)[1:] for vector in vectors] == [
            [row, None] if group.id < other.id else [None, row] for row in stored
        ]
        with CountingReader(client) as reader:
            for _ in range(2):
                found = reader.read(joined, [{"user_id": name} for name in USERS], from_micros(NOW + 5))
        assert [row["n"] for row in found.to_dicts()] == [5] * len(USERS)
        assert not [key for key in reader.asked[-1] if key in keys]
        assert quick.primary_of("u1") is not victim


@pytest.mark.parametrize("way", ["python", "native"])
def test_a_stopped_primary_is_not_waited_for(cluster: OwnCluster, core: NativeCore, way: str) -> None:
    group = new_group(features=NUMBERS)
    victim = cluster.primary_of("u1")
    lost = users_of(cluster, victim)

    async def story() -> None:
        async with reads_of(cluster, group, core if way == "native" else None, deadline=2.0) as reads:
            victim.signal(signal.SIGSTOP)
            try:
                await asyncio.gather(*(reads.statuses() for _ in range(10)))
                assert "answers in a row were overdue" in reads.store.troubles[victim.address]
                began = time.monotonic()
                for _ in range(40):
                    await reads.statuses()
                assert time.monotonic() - began < 30, "none has waited for its deadline"
                assert reads.seen == {(name, Status.UNAVAILABLE if name in lost else Status.PRESENT) for name in USERS}
            finally:
                victim.signal(signal.SIGCONT)
            await reads.until(all_are(Status.PRESENT))
            assert not reads.store.troubles

    uvloop.run(story())


@pytest.mark.parametrize("way", ["python", "native"])
def test_a_slot_that_moves_is_read_and_written(cluster: OwnCluster, core: NativeCore, way: str) -> None:
    """Key by key, with several keys of one request in the slot; rows are written where each key is meanwhile."""
    groups = [new_group(features=NUMBERS) for _ in range(3)]
    prefixes, user = ["a_", "b_", "c_"], "u1"
    roles = tuple(ViewedSchema(group, prefix=prefix) for group, prefix in zip(groups, prefixes, strict=True))
    view, expected = ViewSchema("moving", 1, roles), [-1] * 3
    keys = [entity_key(group, {"user_id": user}) or "" for group in groups]
    slot, source = key_slot(keys[0].encode()), cluster.primary_of(keys[0])
    target = next(member for member in cluster.primaries() if member is not source)

    chosen = core if way == "native" else None

    async def story() -> None:
        async with RedisStore([NodeAddress.parse(cluster.url)], deadline=PATIENCE_SECONDS, core=chosen) as store:
            reader, reading = MultiplexedReader(store), ViewReading(view, core=chosen)
            value = 0

            async def write_and_read() -> None:
                nonlocal value
                for place, group in enumerate(groups):
                    value += 1
                    await asyncio.to_thread(put, client, group, user, NOW + value, value)
                    expected[place] = value
                    (found,) = (await reader.read(reading, [{"user_id": user}], {}, NOW + value)).to_dicts()
                    assert [found[f"{name}n"] for name in prefixes] == expected

            await write_and_read()
            with cluster.node(source) as here, cluster.node(target) as there:
                there.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", source.id)
                here.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", target.id)
                for key in keys:
                    await write_and_read()
                    here.migrate("127.0.0.1", target.port, key, 0, 10_000)
                    await write_and_read()
                for key in here.execute_command("CLUSTER GETKEYSINSLOT", slot, 1_000):  # of other tests
                    here.migrate("127.0.0.1", target.port, key, 0, 10_000)
                for node in (there, here):
                    node.execute_command("CLUSTER SETSLOT", slot, "NODE", target.id)
                await write_and_read()
                assert there.get(keys[0]) is not None

    with connect(cluster.url) as client:
        uvloop.run(story())


def test_a_primary_without_memory_is_read_and_refuses_writes(cluster: OwnCluster, tmp_path: Path) -> None:
    group = online_tables.new_group()
    catalog = SqlCatalog("own", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse")
    write_day(catalog, group, START, [Row(e, START, 1, e) for e in range(40)])
    nodes = [cluster.node(member) for member in cluster.primaries()]
    with connect(cluster.url) as client, OnlineReader(cluster.url) as reader:
        materialize(catalog, client, group, now=from_micros(TODAY))
        before = last_updated(client, group)
        LoadedPlaces(client, group).write({0: 5})
        write_day(catalog, group, START + DAY, [Row(e, START + DAY, 1, -e) for e in range(40)])
        try:
            for node in nodes:
                node.config_set("maxmemory", "1kb")
            with pytest.raises(StackError, match="command not allowed when used memory > 'maxmemory'") as error:
                materialize(catalog, client, group, now=from_micros(TODAY))
            assert error.value.code == "redis-refused"
            with pytest.raises(StackError, match="maxmemory"), LoadedPlaces(client, group).moving({0: 5}, {0: 9}):
                pass
            assert online(reader, group, TODAY, range(40)) == {e: e for e in range(40)}
            assert (last_updated(client, group), LoadedPlaces(client, group).read([0])) == (before, {0: 5})
        finally:
            for node in nodes:
                node.config_set("maxmemory", "0")
                node.close()
        materialize(catalog, client, group, now=from_micros(TODAY))
        assert online(reader, group, TODAY, range(40)) == {e: -e for e in range(40)}
        assert last_updated(client, group) != before
