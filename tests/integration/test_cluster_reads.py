"""Reads of a Redis Cluster: what one node with the same keys gives, in a server's event loop and in process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store import FeatureView
from feature_store.dtypes import DType, from_micros
from feature_store.errors import StackError
from feature_store.online.connection import connect, node_urls
from feature_store.online.native.core import NativeCore
from feature_store.online.read.connection import NodeBusyError, NodeError
from feature_store.online.read.multiplexed import MultiplexedReader
from feature_store.online.read.node import NodeAddress
from feature_store.online.read.recognition import RedisStore
from feature_store.online.read.steps import ViewReading
from feature_store.online.reader import OnlineReader
from feature_store.online.vectors import OnlineVectors, Status
from feature_store.plan.build import view_schema
from feature_store.plan.schema import ViewSchema
from tests.conftest import PATIENCE_SECONDS
from tests.integration.certificates import Authority
from tests.integration.compared import COMPARED
from tests.integration.online_setting import NOW, new_group, put, view_of
from tests.integration.own_cluster import OwnCluster, running_cluster
from tests.integration.own_valkey import Valkey, free_port, running_valkey
from tests.integration.serving.balancer import running_balancer
from tests.integration.serving.shop import GROUPS, NAMES, NUMBERS, VIEWS, Shop

SCHEMAS = [view_schema(view) for view in VIEWS]
SCHEMAS += [view_schema(FeatureView(group.name, groups=[group], owner="team:test")) for group in GROUPS]
REQUEST = {"budget": 7.5, "asked_at": from_micros(NOW)}


@pytest.fixture(scope="module")
def alone(cluster: OwnCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """One node with the keys that the cluster has."""
    with running_valkey(tmp_path_factory.mktemp("alone")) as server:
        with connect(cluster.url) as shards, server.client() as node:
            Shop.write(shards)
            for key in shards.scan_iter():
                node.restore(key, max(0, shards.pttl(key)), shards.dump(key))
        yield server


def keys_of(dtype: DType) -> st.SearchStrategy[Any]:
    known = {"STRING": NAMES, "INT": NUMBERS, "TIMESTAMP": [from_micros(0), from_micros(1_790_000_000_000_000)]}
    return st.none() | st.sampled_from([*known[dtype.kind]])


@st.composite
def reads(draw: st.DrawFn) -> tuple[ViewSchema, list[dict[str, Any]]]:
    view = draw(st.sampled_from(SCHEMAS))
    row = st.fixed_dictionaries({key.name: keys_of(key.dtype) for key in view.keys})
    return view, draw(st.lists(row, max_size=12))


def told(vectors: OnlineVectors) -> tuple[Any, ...]:
    return (vectors.to_dicts(), vectors.statuses, vectors.feature_timestamps, vectors.updated_at, vectors.stale)


def stores_at(*urls: str, **options: Any) -> list[RedisStore]:
    return [RedisStore([NodeAddress.parse(each) for each in node_urls(url)], **options) for url in urls]


async def asked_at_once(
    url: str, cases: list[tuple[ViewSchema, list[dict[str, Any]]]], core: NativeCore | None = None, **options: Any
) -> list[OnlineVectors]:
    (store,) = stores_at(url, deadline=PATIENCE_SECONDS, core=core, **options)
    async with store:
        reader = MultiplexedReader(store)
        readings = [ViewReading(view, core=core) for view, _ in cases]
        requests = [REQUEST if view.request else {} for view, _ in cases]
        return await asyncio.gather(
            *(
                reader.read(reading, rows, request, NOW)
                for reading, request, (_, rows) in zip(readings, requests, cases, strict=True)
            )
        )


@settings(max_examples=12)
@given(st.lists(reads(), min_size=1, max_size=20))
def test_a_cluster_answers_what_one_node_does(
    cluster: OwnCluster, alone: Valkey, core: NativeCore, cases: list[tuple[ViewSchema, list[dict[str, Any]]]]
) -> None:
    found = {
        name: [*map(told, uvloop.run(asked_at_once(url, cases, **options)))]
        for name, url, options in (
            ("cluster", cluster.url, {}),
            ("replicas", cluster.url, {"replicas": "prefer"}),
            ("native", cluster.url, {"core": core}),
            ("native, replicas", cluster.url, {"core": core, "replicas": "prefer"}),
            ("one node", alone.url, {}),
        )
    }
    for url in (cluster.url, alone.url):
        with OnlineReader(url) as reader:
            found[f"in process, {url}"] = [
                told(reader.read(view, rows, from_micros(NOW), request=REQUEST if view.request else None))
                for view, rows in cases
            ]
    for name, answers in found.items():
        assert answers == found["one node"], name
    COMPARED["reads of a cluster with those of one node"] += len(cases)


def test_a_cluster_with_passwords_and_encryption_is_read(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own = authority.sign("redis")
    both = tmp_path / "both.pem"
    both.write_bytes(own.certificate.read_bytes() + own.key.read_bytes())
    with ExitStack() as stack:
        fronts: dict[int, int] = {}

        def in_front_of(port: int) -> int:  # Valkey's binary has no encryption of its own
            fronts[port] = stack.enter_context(running_balancer([port], both)).port
            return fronts[port]

        secret = "it's%secret"
        running = stack.enter_context(running_cluster(tmp_path, password=secret, announced=in_front_of))
        address = f"{{user}}127.0.0.1:{fronts[running.members[0].port]}?ssl_ca_certs={authority.file}"
        url = "rediss://" + address.format(user=":it%27s%25secret@")
        group = new_group()
        with connect(url) as client:
            for i in range(30):
                put(client, group, f"u{i}", NOW, i, float(i), "x")
        rows = [{"user_id": f"u{i}"} for i in range(31)]
        (vectors,) = uvloop.run(asked_at_once(url, [(view_of(group), rows)]))
        assert [row["user_order_count"] for row in vectors.to_dicts()] == [*range(30), 0]
        with OnlineReader(url) as reader:
            assert told(reader.read(view_of(group), rows, from_micros(NOW))) == told(vectors)
        (refused,) = uvloop.run(asked_at_once("rediss://" + address.format(user=""), [(view_of(group), rows)]))
        assert {status for row in refused.statuses for status in row.values()} == {Status.UNAVAILABLE}
        with pytest.raises(StackError, match=r"refused|does not answer") as error:
            connect("rediss://" + address.format(user=":it%27s@"))
        assert "it's" not in str(error.value)


@pytest.mark.parametrize("way", ["python", "native"])
def test_no_more_wait_for_a_node_than_may(cluster: OwnCluster, core: NativeCore, way: str) -> None:
    group = new_group()
    with connect(cluster.url) as client:
        put(client, group, "u1", NOW, 5, 0.5, "x")

    chosen = core if way == "native" else None

    async def story() -> list[Any]:
        (store,) = stores_at(cluster.url, deadline=PATIENCE_SECONDS, most_waiting=20, core=chosen)
        async with store:
            reader, reading = (
                MultiplexedReader(store),
                ViewReading(view_of(group), core=chosen),
            )
            asked = [reader.read(reading, [{"user_id": "u1"}], {}, NOW) for _ in range(1, 50)]
            await asked.pop()
            return await asyncio.gather(*asked, return_exceptions=True)

    found = uvloop.run(story())
    refused = [each for each in found if isinstance(each, NodeBusyError)]
    assert len(refused) == 28
    assert all("20 commands wait" in str(each) for each in refused)
    assert {each.to_dicts()[0]["user_order_count"] for each in found if each not in refused} == {5}


def test_one_address_that_answers_is_enough(cluster: OwnCluster) -> None:
    nobody = f"redis://127.0.0.1:{free_port()},127.0.0.1:{cluster.members[2].port}"
    group = new_group()
    with connect(nobody) as client:
        put(client, group, "u", NOW, 5, 0.5, "x")
    (vectors,) = uvloop.run(asked_at_once(nobody, [(view_of(group), [{"user_id": "u"}])]))
    assert vectors.to_dicts()[0]["user_order_count"] == 5


def test_several_addresses_of_nodes_without_a_cluster_are_refused(tmp_path: Path) -> None:
    with running_valkey(tmp_path) as valkey:

        async def trouble() -> str:
            (store,) = stores_at(f"{valkey.url[:-2]},127.0.0.1:{valkey.port}")
            async with store:
                assert not store.is_up
                with pytest.raises(NodeError, match="no node of Redis has answered"):
                    await store.command("GET", "a")
                return store.troubles[f"127.0.0.1:{valkey.port}"]

        assert "only address" in asyncio.run(trouble())
