"""A server over a Redis Cluster, and over a second online store that dies."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from feature_store import FeatureView
from feature_store.online.connection import OnlineClients, connect
from feature_store.online.reader import OnlineReader
from feature_store.plan.build import view_schema
from feature_store.registry.store import Registry
from tests.conftest import Eventually
from tests.integration.own_cluster import OwnCluster
from tests.integration.own_valkey import Valkey, running_valkey
from tests.integration.serving.conftest import NewRegistry, address_of
from tests.integration.serving.posting import LOG, faults, post, trips
from tests.integration.serving.server_process import ServerProcess
from tests.integration.serving.shop import ITEMS, NAMES, NUMBERS, PAIRS, SELLERS, USERS, Shop

HOT_ITEMS = replace(ITEMS, online_store="hot")
MATCHING = FeatureView("matching", groups=[USERS, HOT_ITEMS, PAIRS], owner="team:ranking")
GROUPS = (USERS, HOT_ITEMS, PAIRS, SELLERS)


@pytest.fixture(scope="module")
def hot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with running_valkey(tmp_path_factory.mktemp("hot")) as server:
        yield server


@pytest.fixture(scope="module")
def clients(cluster: OwnCluster, hot: Valkey) -> Iterator[OnlineClients]:
    found = OnlineClients({"": cluster.url, "hot": hot.url}.__getitem__)
    yield found
    found.close()


@pytest.fixture(scope="module")
def registry(new_registry: NewRegistry, cluster: OwnCluster) -> Registry:
    made = new_registry("registry_of_stores")
    with connect(cluster.url) as default:
        Shop.fill(made, default, GROUPS, [MATCHING])
    return made


@pytest.fixture(scope="module")
def server(
    registry: Registry,
    cluster: OwnCluster,
    hot: Valkey,
    clients: OnlineClients,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ServerProcess]:
    Shop.write(clients.of("hot"), [HOT_ITEMS])
    changes = {"redis_url": cluster.url, "online_stores": {"hot": hot.url}, "replicas": "fallback"}
    process = ServerProcess(tmp_path_factory.mktemp("stores"), address_of(registry), changes)
    process.start()
    yield process
    process.stop()


def rows() -> list[dict[str, Any]]:
    chance = random.Random(3)
    return [{"user_id": chance.choice(NAMES), "item_id": chance.choice(NUMBERS)} for _ in range(30)]


def test_answers_of_a_cluster_and_of_a_store_that_dies(
    server: ServerProcess, hot: Valkey, clients: OnlineClients, eventually: Eventually
) -> None:
    def statuses(group: str) -> list[str]:
        answer = server.post("/feature-views/matching/online", {"rows": rows()})
        assert answer.status == 200, answer.body
        (found,) = [each["statuses"] for each in answer.json["groups"] if each["group"] == group]
        return list(found)

    expected = OnlineReader(clients).read(view_schema(MATCHING), rows())
    for group in (USERS, HOT_ITEMS, PAIRS):
        assert statuses(group.id) == [row[group.id] for row in expected.statuses]
        assert {"PRESENT", "DEFAULTED", "NOT_FOUND", "EXPIRED"} & {*statuses(group.id)}
    health = server.get("/health").json
    assert (health["status"], health["redis"]["down"]) == ("ok", {})
    assert health["online_stores"] == {"hot": {"up": True, "trouble": "", "down": {}}}

    hot.kill()
    eventually(lambda: {*statuses(HOT_ITEMS.id)} == {"UNAVAILABLE"})
    for group in (USERS, PAIRS):
        assert statuses(group.id) == [row[group.id] for row in expected.statuses]
    health = server.get("/health").json
    assert (health["status"], health["redis"]["up"]) == ("degraded", True)
    assert set(health["online_stores"]["hot"]["down"]) == {f"127.0.0.1:{hot.port}"}
    hot.start()
    eventually(lambda: statuses(HOT_ITEMS.id) == [row[HOT_ITEMS.id] for row in expected.statuses])


def test_replicas_answer_while_their_primary_is_gone(
    server: ServerProcess, cluster: OwnCluster, clients: OnlineClients, eventually: Eventually
) -> None:
    def answers() -> list[Any]:
        found = [server.get("/feature-groups/user_facts/online", entity_ids=name) for name in NAMES]
        assert {answer.status for answer in found} == {200}
        return [(answer.json["rows"], answer.json["groups"][0]["statuses"]) for answer in found]

    def down() -> set[str]:
        return set(server.get("/health").json["redis"]["down"])

    before, victim = answers(), cluster.primary_of("a")
    successor = cluster.members[cluster.members.index(victim) + 3]
    try:
        victim.kill()
        eventually(lambda: down() == {victim.address})
        assert answers() == before
        with cluster.node(successor) as node:
            node.execute_command("CLUSTER FAILOVER TAKEOVER")
        eventually(lambda: not down())
        assert answers() == before
    finally:
        cluster.restore()
    eventually(lambda: server.get("/health").json["status"] == "ok")
    assert answers() == before


def test_a_group_of_an_unknown_store_is_not_registered(server: ServerProcess) -> None:
    body = trips(source=LOG)
    assert faults(post(server, body | {"online_store": "cold"})) == [("/online_store", "unknown-online-store")]
    assert faults(post(server, body | {"online_store": "Hot!"}))
    assert post(server, body | {"online_store": "hot"}, "?plan=true").json["outcome"] == "planned"
