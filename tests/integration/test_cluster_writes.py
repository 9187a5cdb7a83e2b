"""Writes into a Redis Cluster: the same rows as on one node, and notes that are lost with the rows of a primary."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from redis import Redis

from feature_store import INT
from feature_store.dtypes import from_micros
from feature_store.duration import HOUR, MINUTE
from feature_store.errors import ConflictError
from feature_store.online.connection import connect
from feature_store.online.keys import entity_key
from feature_store.online.materialize import materialize
from feature_store.online.progress import load_progress
from feature_store.online.reader import OnlineReader
from feature_store.online.shards import shards_of
from feature_store.online.writer import GuardedWriter, Written
from feature_store.plan.schema import Column
from feature_store.streaming.loaded import LoadedPlaces
from feature_store.streaming.marks import PartitionMarks
from tests.integration import online_tables
from tests.integration.online_setting import NOW, new_group
from tests.integration.online_tables import START, TODAY, Row, online, write_day
from tests.integration.own_cluster import OwnCluster
from tests.integration.own_valkey import running_valkey

NUMBERS = (Column("n", INT),)
ENTITIES = range(40)
MARKS = PartitionMarks('[["job",0,1,0,2,1000,1001]]')


@pytest.fixture(scope="module")
def sharded(cluster: OwnCluster) -> Iterator[Redis]:
    with connect(cluster.url) as client:
        yield client


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with running_valkey(tmp_path_factory.mktemp("alone")) as server, connect(server.url) as client:
        yield client


@pytest.fixture(scope="module")
def own_catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    folder = tmp_path_factory.mktemp("catalog")
    return SqlCatalog("own", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse")


@pytest.mark.parametrize("seed", range(3))
def test_rows_come_and_are_taken_back_as_on_one_node(sharded: Redis, alone: Redis, seed: int) -> None:
    group = new_group(features=NUMBERS, ttl=HOUR)
    keys = [entity_key(group, {"user_id": f"u{i}"}) or "" for i in ENTITIES]
    writers = [GuardedWriter(redis, group) for redis in (sharded, alone)]
    chance = random.Random(seed)
    for _ in range(25):
        chosen = chance.sample(ENTITIES, chance.randrange(1, 40))
        times = [NOW - chance.randrange(120) * MINUTE for _ in chosen]
        created = [NOW - chance.randrange(3) for _ in chosen]
        values = [writers[0].encode(t, c, [i], NOW) for i, t, c in zip(chosen, times, created, strict=True)]
        names = [keys[i] for i in chosen]
        if chance.random() < 0.6:
            found = [writer.write(names, values) for writer in writers]
        else:
            stands = [value if chance.random() < 0.5 else None for value in values]
            back = [[(t, t, c)] * chance.randrange(2) for t, c in zip(times, created, strict=True)]
            found = [writer.settle(names, stands, back, [()] * len(names), created) for writer in writers]
        (one, other), unsure = found, [set(each.unsure) for each in found]
        assert unsure[0] == unsure[1]
        assert Written(one.written, one.stale, one.expired, one.deleted) == Written(
            other.written, other.stale, other.expired, other.deleted
        )
    for key in keys:
        assert sharded.get(key) == alone.get(key), key
        assert sharded.pexpiretime(key) == alone.pexpiretime(key)


def test_a_primary_without_the_functions_gets_them(sharded: Redis, cluster: OwnCluster) -> None:
    group = new_group(features=NUMBERS)
    writer = GuardedWriter(sharded, group)
    keys = [entity_key(group, {"user_id": f"u{i}"}) or "" for i in ENTITIES]
    for member in cluster.members[:2]:
        with cluster.node(member) as node:
            node.function_flush()
    assert writer.write(keys, [writer.encode(NOW, NOW, [i], NOW) for i in ENTITIES]).written == len(ENTITIES)
    assert None not in [sharded.get(key) for key in keys]


def test_a_primary_that_lost_its_rows_is_filled_again(
    sharded: Redis, cluster: OwnCluster, own_catalog: Catalog
) -> None:
    group = online_tables.new_group()
    write_day(own_catalog, group, START, [Row(e, START, 1, e) for e in ENTITIES])
    now = from_micros(TODAY)
    with OnlineReader(cluster.url) as reader:
        expected = {e: e for e in ENTITIES}
        assert materialize(own_catalog, sharded, group, now=now).full
        assert online(reader, group, TODAY, ENTITIES) == expected
        assert not materialize(own_catalog, sharded, group, now=now).full
        with cluster.node(cluster.members[1]) as node:
            node.flushall()
        assert load_progress(sharded, group) is None
        assert 0 < len(online(reader, group, TODAY, ENTITIES)) < len(ENTITIES)
        assert materialize(own_catalog, sharded, group, now=now).full
        assert online(reader, group, TODAY, ENTITIES) == expected
        assert not materialize(own_catalog, sharded, group, now=now).full


def test_places_in_the_updates_are_beside_the_rows_of_every_primary(sharded: Redis, cluster: OwnCluster) -> None:
    places = LoadedPlaces(sharded, new_group())
    places.write({0: 5, 1: 7})
    assert places.read([0, 1, 2]) == {0: 5, 1: 7}
    with places.moving({0: 5}, {0: 9}, {0: MARKS}):
        assert places.read([0, 1]) == {0: 5, 1: 7}
    assert places.read([0, 1]) == {0: 9, 1: 7}
    assert places.marks([0, 1])[0].marks() == MARKS.marks()
    with pytest.raises(ConflictError), places.moving({0: 8}, {0: 10}):
        pytest.fail("rows were written")

    shard = shards_of(sharded)[1]
    sharded.set(shard.key(f"{places._group.id}:loaded:0"), 6)  # what a replica knows that lagged
    assert places.read([0]) == {0: 6}
    with places.moving({0: 6}, {0: 12}):
        pass
    assert places.read([0]) == {0: 12}
    with pytest.raises(ConflictError), places.moving({0: 12}, {0: 13}):
        sharded.delete(shard.key(f"{places._group.id}:loaded:0"))
    assert places.read([0, 1]) == {1: 7}
    assert not places.marks([0])[0].marks()


def test_notes_of_a_primary_lie_on_it(sharded: Redis, cluster: OwnCluster) -> None:
    shards = shards_of(sharded)
    assert len({shard.suffix for shard in shards}) == 3
    for shard in shards:
        sharded.set(shard.key("note"), 1)
        assert shard.client.get(shard.key("note")) == b"1", "it would say MOVED"
