"""Groups in online stores of their own: each is written to, read from and told of there and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop
from pyiceberg.catalog.sql import SqlCatalog

from feature_store import INT, FeatureStore
from feature_store.dtypes import from_micros
from feature_store.errors import StackError
from feature_store.online.connection import OnlineClients
from feature_store.online.read.multiplexed import MultiplexedReader
from feature_store.online.read.node import NodeAddress
from feature_store.online.read.recognition import RedisStore
from feature_store.online.read.steps import ViewReading
from feature_store.online.reader import OnlineReader
from feature_store.online.vectors import OnlineVectors, Status
from feature_store.plan.schema import Column, GroupSchema, ViewSchema
from feature_store.settings import Settings
from tests.conftest import PATIENCE_SECONDS
from tests.integration import online_tables
from tests.integration.online_setting import NOW, new_group, put, view_of
from tests.integration.online_tables import START, Row, write_day
from tests.integration.own_cluster import OwnCluster
from tests.integration.own_valkey import Valkey, running_valkey

ROWS = [{"user_id": f"u{i}"} for i in range(12)]


@pytest.fixture
def default(tmp_path: Path) -> Iterator[Valkey]:
    (tmp_path / "default").mkdir()
    with running_valkey(tmp_path / "default") as server:
        yield server


@pytest.fixture
def hot(tmp_path: Path) -> Iterator[Valkey]:
    (tmp_path / "hot").mkdir()
    with running_valkey(tmp_path / "hot") as server:
        yield server


def groups_in(*stores: str) -> list[GroupSchema]:
    columns = [(Column(f"n{i}", INT, default=-1),) for i in range(len(stores))]
    return [replace(new_group(features=of), online_store=store) for of, store in zip(columns, stores, strict=True)]


async def read(view: ViewSchema, urls: dict[str, str], deadline: float = PATIENCE_SECONDS) -> OnlineVectors:
    stores = {name: RedisStore([NodeAddress.parse(url)], deadline=deadline) for name, url in urls.items()}
    await asyncio.gather(*(store.__aenter__() for store in stores.values()))
    try:
        return await MultiplexedReader(stores[""], stores).read(ViewReading(view), ROWS, {}, NOW)
    finally:
        await asyncio.gather(*(store.__aexit__() for store in stores.values()))


def test_a_view_reads_each_group_where_it_is(default: Valkey, hot: Valkey, cluster: OwnCluster) -> None:
    urls = {"": default.url, "hot": hot.url, "wide": cluster.url}
    groups = groups_in("", "hot", "wide", "hot")
    with closing(OnlineClients(urls.__getitem__)) as clients:
        for number, group in enumerate(groups):
            for i in range(0, 12, number + 1):
                put(clients.of(group.online_store), group, f"u{i}", NOW, 100 * number + i)
            for name in urls:
                assert bool(clients.of(name).exists(f"{group.id}:layouts")) == (name == group.online_store)
        for chosen in (groups, groups[1:2], groups[2:], groups[:1]):
            vectors = uvloop.run(read(view_of(*chosen), urls))
            alone = OnlineReader(clients).read(view_of(*chosen), ROWS, from_micros(NOW))
            for found in (vectors, alone):
                for i, row in enumerate(found.to_dicts()):
                    for group in chosen:
                        number = groups.index(group)
                        assert row[f"n{number}"] == (-1 if i % (number + 1) else 100 * number + i)
            assert vectors.statuses == alone.statuses
            assert vectors.stale == alone.stale


def test_a_dead_store_makes_only_its_groups_unavailable(default: Valkey, hot: Valkey) -> None:
    here, there = groups_in("", "hot")
    with closing(OnlineClients({"": default.url, "hot": hot.url}.__getitem__)) as clients:
        for group in (here, there):
            put(clients.of(group.online_store), group, "u1", NOW, 5)
    hot.kill()
    vectors = uvloop.run(read(view_of(here, there), {"": default.url, "hot": hot.url}))
    assert vectors.to_dicts()[1] == {"user_id": "u1", "n0": 5, "n1": -1}
    assert vectors.statuses[1] == {here.id: Status.PRESENT, there.id: Status.UNAVAILABLE}
    assert {row[there.id] for row in vectors.statuses} == {Status.UNAVAILABLE}


def test_a_name_without_an_address_is_told_by_readers_and_writers(default: Valkey, tmp_path: Path) -> None:
    (group,) = groups_in("cold")
    with pytest.raises(StackError, match=rf"{group.id}.*'cold'.*FS_ONLINE_STORES") as error:
        uvloop.run(read(view_of(group), {"": default.url}))
    assert error.value.code == "unknown-online-store"
    settings = settings_of(tmp_path, default.url)
    with pytest.raises(StackError, match="add cold=redis://"):
        FeatureStore(settings).materialize_online(group)
    with OnlineReader(OnlineClients(settings.online_store_url)) as reader, pytest.raises(StackError, match="'cold'"):
        reader.read(view_of(group), ROWS)


def settings_of(home: Path, redis_url: str, **stores: str) -> Settings:
    return Settings(home, "", redis_url, f"file://{home}", home, (), online_stores=stores)


def test_a_group_is_materialized_into_its_store(default: Valkey, hot: Valkey, tmp_path: Path, stack: Settings) -> None:
    group = online_tables.new_group(online_store="hot")
    store = FeatureStore(replace(settings_of(tmp_path, default.url, hot=hot.url), pg_url=stack.pg_url))
    store.__dict__["catalog"] = SqlCatalog("own", uri=f"sqlite:///{tmp_path}/c.db", warehouse=f"file://{tmp_path}/w")
    write_day(store.catalog, group, START, [Row(1, START, 1, 7)])
    assert store.materialize_online(group).written == 1
    with default.client() as redis:
        assert redis.dbsize() == 0
    with hot.client() as redis:
        assert redis.exists(f"{group.id}:{{1}}", f"{group.id}:last_updated", f"{group.id}:progress") == 3
