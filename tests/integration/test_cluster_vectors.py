"""Vectors of pre-joined views in a Redis Cluster: they say what groups say, while slots move and primaries are lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, cast

import msgspec
import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis
from redis.crc import key_slot

from feature_store.dtypes import from_micros
from feature_store.online.batches import registrations_key
from feature_store.online.cluster_sets import ClusterSet
from feature_store.online.connection import connect
from feature_store.online.native.core import NativeCore
from feature_store.online.read.multiplexed import MultiplexedReader
from feature_store.online.read.node import NodeAddress
from feature_store.online.read.recognition import RedisStore
from feature_store.online.read.steps import ViewReading
from feature_store.online.reader import OnlineReader
from feature_store.online.vector_sets import VectorSet, join_vectors, keep_sets, registered_sets, tags_of, vector_sets
from tests.conftest import PATIENCE_SECONDS
from tests.integration.counting_reader import CountingReader, NativeReader
from tests.integration.own_cluster import OwnCluster
from tests.integration.vector_cases import CHANGES, GROUPS, PLAIN, ROWS, VIEW, DeathError, Life
from tests.integration.vector_cases import tags_of as tags_of_group

IDS = [group.id for group in GROUPS]
SETS = (USERS,) = vector_sets([VIEW])[:1]
"""Groups of items are read by themselves."""
TAGS = {tag for group in GROUPS for tag in tags_of_group(group)}


@pytest.fixture(scope="module")
def store(cluster: OwnCluster) -> Iterator[Redis]:
    with connect(cluster.url) as client:
        yield client
        keep_sets(client, (), IDS)


@pytest.fixture
def life(store: Redis) -> Life:
    """Groups without rows, and sets that are kept."""
    clear(store)
    keep_sets(store, SETS, IDS)
    return Life(store)


def clear(store: Redis) -> None:
    for name in [*(f"{group}:" for group in IDS), *(each.prefix for each in SETS)]:
        for tag in TAGS:
            store.delete(f"{name}{tag}")


def checked(store: Redis) -> int:
    """That vectors which may be read are copies of what the groups have, kept as long; how many there are."""
    found = 0
    for each in SETS:
        head = cast("bytes | None", store.get(each.last_updated_key))
        if head is None:
            continue
        ids, token = msgspec.msgpack.decode(head)
        assert ids == each.ids.encode()
        for tag in TAGS:
            vector = cast("bytes | None", store.get(f"{each.prefix}{tag}"))
            said, *parts = msgspec.msgpack.decode(vector) if vector else [None]
            if said != token:
                continue
            found += 1
            keys = [f"{name}:{tag}" for name in each.groups]
            assert parts == [store.get(name) for name in keys]
            kept = [cast(int, store.pexpiretime(name)) for name, part in zip(keys, parts, strict=True) if part]
            assert store.pexpiretime(f"{each.prefix}{tag}") == (-1 if -1 in kept else max(kept))
    return found


def same(store: Redis, reader: OnlineReader, now: int) -> None:
    one, other = OnlineReader(store).read(PLAIN, ROWS, from_micros(now)), reader.read(VIEW, ROWS, from_micros(now))
    assert other.to_dicts() == one.to_dicts()
    assert (other.statuses, other.stale) == (one.statuses, one.stale)
    assert other.feature_timestamps == one.feature_timestamps


def rows(text: str, hour: int = -1) -> list[tuple[Any, ...]]:
    """A row of every entity of every group."""
    return [("write", place, [(entity, hour, 0, text) for entity in range(3)]) for place in range(len(GROUPS))]


def asked_groups(reader: CountingReader) -> set[str]:
    """The groups of the set of which the last round trip has asked for rows."""
    return {key.partition(":")[0] for key in reader.asked[-1] if ":{" in key} & {*USERS.groups}


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(CHANGES, min_size=1, max_size=6))
def test_vectors_say_what_the_groups_say_whatever_happens(
    store: Redis, life: Life, core: NativeCore, steps: list[Any]
) -> None:
    clear(store)
    reader, native = OnlineReader(store), NativeReader(store, core)
    for step in steps:
        life.happens(step)
        checked(store)
        same(store, reader, life.now)
        same(store, native, life.now)


def test_vectors_are_read_and_only_those_of_entities_that_have_one(store: Redis, life: Life) -> None:
    reader = CountingReader(store)
    for step in rows("x"):
        life.happens(step)
    assert checked(store) == 3
    for _ in range(2):
        same(store, reader, life.now)
    assert asked_groups(reader) == set()
    store.delete(f"{USERS.prefix}{{a}}")
    same(store, reader, life.now)
    assert asked_groups(reader) == {"u1@1", "u2@1", "u3@1"}
    assert {key for key in reader.asked[-1] if key.startswith("u1@1:{")} == {"u1@1:{a}"}


def test_a_dropped_set_is_not_read_and_another_registration_makes_all_anew(store: Redis, life: Life) -> None:
    for step in rows("x"):
        life.happens(step)
    reader = CountingReader(store)
    same(store, reader, life.now)
    keep_sets(store, (), IDS)
    assert not registered_sets(store)
    assert not store.get(USERS.last_updated_key)
    assert not store.exists(registrations_key(0))
    vector = f"{USERS.prefix}{{a}}"
    old = cast(bytes, store.get(vector))
    assert cast(int, store.pttl(vector)) > 0
    for step in rows("y", 0):
        life.happens(step)
    assert store.get(vector) == old
    same(store, reader, life.now)
    keep_sets(store, SETS, IDS)
    store.set(vector, old)  # of the registration before
    same(store, reader, life.now)
    same(store, reader, life.now)
    assert "u1@1:{a}" in reader.asked[-1]


def dying(store: Redis, of: VectorSet, happens: Sequence[Any], *, dies: bool) -> ClusterSet:
    """A set whose filling begins with other things that happen, and perhaps ends there."""

    def tags(node: Redis) -> Iterator[list[bytes]]:
        for step in happens:
            Life(store).happens(step)
        if dies:
            raise DeathError
        yield from tags_of(node, of)

    return ClusterSet(store, of, tags, lambda found: join_vectors(store, of, found))


def test_a_filling_that_dies_or_comes_late_completes_nothing(store: Redis, life: Life) -> None:
    keep_sets(store, (), IDS)
    for step in rows("x"):
        life.happens(step)
    reader = OnlineReader(store)
    with suppress(DeathError):
        dying(store, USERS, rows("y", 0), dies=True).keep(again=False)
    assert not store.get(USERS.last_updated_key)
    same(store, reader, life.now)

    class Late(ClusterSet):
        def _join_all(self) -> None:  # another version of the view was registered, and filled, meanwhile
            super()._join_all()
            keep_sets(store, (), IDS)
            keep_sets(store, [fewer], IDS)
            super()._enlist(b"1-late", self._set.ids)

    fewer = VectorSet(USERS.name, USERS.groups[:2])
    Late(store, USERS, lambda node: tags_of(node, USERS), lambda tags: join_vectors(store, USERS, tags)).keep(
        again=True
    )
    head = msgspec.msgpack.decode(cast(bytes, store.get(USERS.last_updated_key)))
    assert head[0] == fewer.ids.encode()
    for step in rows("z", 0):
        life.happens(step)
    assert msgspec.msgpack.decode(cast(bytes, store.get(f"{USERS.prefix}{{a}}")))[0] == head[1]
    same(store, reader, life.now)
    keep_sets(store, SETS, IDS)
    same(store, reader, life.now)
    assert checked(store) == 3


def test_a_primary_that_lost_everything_gets_its_vectors_again(store: Redis, cluster: OwnCluster, life: Life) -> None:
    for step in rows("x"):
        life.happens(step)
    reader = OnlineReader(store)
    same(store, reader, life.now)
    with cluster.node(cluster.primary_of("u1@1:{a}")) as node:
        node.flushall()
    for step in rows("y", 0):
        life.happens(step)
    assert not store.exists(f"{USERS.prefix}{{a}}")
    same(store, reader, life.now)
    keep_sets(store, SETS, IDS)
    assert checked(store) == 3
    same(store, reader, life.now)


def test_a_row_of_a_slot_that_moves_waits_and_is_in_its_vector(
    store: Redis, cluster: OwnCluster, core: NativeCore, life: Life
) -> None:
    for step in rows("x"):
        life.happens(step)
    key = "u1@1:{%}"  # not one of those by which the tests find all primaries
    slot, source = key_slot(key.encode()), cluster.primary_of(key)
    target = next(member for member in cluster.primaries() if member is not source)
    writes = threading.Thread(target=life.happens, args=(("write", 1, [(2, 0, 1, "moved")]),))

    async def story() -> None:
        async with RedisStore([NodeAddress.parse(cluster.url)], deadline=PATIENCE_SECONDS, core=core) as server:
            reader, reading = MultiplexedReader(server), ViewReading(VIEW, core=core)

            async def texts() -> set[str]:
                found = await reader.read(reading, ROWS, {}, life.now)
                assert "UNAVAILABLE" not in {status for row in found.statuses for status in row.values()}
                return {row["u1_text"] for row in found.to_dicts() if row["user_id"] == ""}

            for _ in range(2):
                assert await texts() == {"x"}
            with cluster.node(source) as here, cluster.node(target) as there:
                there.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", source.id)
                here.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", target.id)
                writes.start()
                for name in here.execute_command("CLUSTER GETKEYSINSLOT", slot, 1_000):
                    here.migrate("127.0.0.1", target.port, name, 0, 10_000)
                    assert await texts() == {"x"}
                assert writes.is_alive()
                for node in (there, here):
                    node.execute_command("CLUSTER SETSLOT", slot, "NODE", target.id)
            await asyncio.to_thread(writes.join, PATIENCE_SECONDS)
            assert await texts() == {"moved"}

    uvloop.run(story())
    same(store, OnlineReader(store), life.now)
    assert checked(store) == 3
