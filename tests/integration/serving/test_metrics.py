"""What /metrics shows of reads: what was found of features, the wait for Redis, how old groups are and may be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from feature_store.registry.store import Registry
from tests.conftest import Eventually
from tests.integration.serving.conftest import address_of
from tests.integration.serving.server_process import ServerProcess
from tests.integration.serving.shop import Shop

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(server: ServerProcess) -> Samples:
    families = text_string_to_metric_families(server.get("/metrics").body.decode())
    return {(each.name, frozenset(each.labels.items())): each.value for family in families for each in family.samples}


@pytest.fixture(scope="module")
def fresh(serving_registry: Registry, shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that nobody else asks: two processes, whose counts are shown together."""
    assert shop.views
    folder, two = tmp_path_factory.mktemp("metrics"), {"FS_SERVING_PROCESSES": "2"}
    process = ServerProcess(folder, address_of(serving_registry), environment=two)
    process.start()
    yield process
    process.stop()


def test_of_each_feature_it_is_counted_what_was_found(fresh: ServerProcess, eventually: Eventually) -> None:
    """With one row a request, each of which counts as long as there were few."""
    expected: Counter[tuple[str, str]] = Counter()
    users = ["a", "b", "c", "é|{%}", "x,y", "nobody"] * 2
    for user in users:
        answer = fresh.get("/feature-groups/user_facts/online", entity_id=user, shape="msgpack").packed
        (group,) = answer["groups"]
        (status,) = group["statuses"]
        for name, value in zip(["user_count", "user_name", "user_at"], group["rows"][0], strict=True):
            outcome = "missing" if value is None else "present"
            if status == "DEFAULTED" and value is not None and value == {"user_count": 7, "user_name": "?"}.get(name):
                outcome = "defaulted"
            expected[name, {"NOT_FOUND": "missing", "EXPIRED": "expired"}.get(status, outcome)] += 1
    wanted = {
        frozenset({("owner", "user_facts@1"), ("feature", name), ("outcome", outcome)}): count
        for (name, outcome), count in expected.items()
    }

    def counted(name: str) -> dict[frozenset[tuple[str, str]], float]:
        return {labels: value for (of, labels), value in samples(fresh).items() if of == name}

    eventually(lambda: counted("feature_store_feature_rows_total") == wanted)
    assert counted("feature_store_redis_seconds_count") == {frozenset(): len(users)}
    assert sum(counted("feature_store_redis_seconds_sum").values()) > 0
    assert counted("feature_store_cache_size") == {frozenset(): 0}


def test_how_old_groups_may_be_is_beside_how_old_they_are(server: ServerProcess, shop: Shop) -> None:
    answer = server.get("/feature-groups/user_facts/online", entity_id="a").json
    found = samples(server)
    group = frozenset({("group", "user_facts@1")})
    freshness = shop.views["group", "user_facts@1"].groups[0].group.freshness
    assert found["feature_store_group_freshness_seconds", group] == freshness / 1e6
    (state,) = answer["groups"]
    if state["updated_at"] is not None:
        age = (answer["request_time"] - state["updated_at"]) / 1e6
        assert found["feature_store_group_age_seconds", group] == age
        assert state["stale"] == (age > freshness / 1e6)
    prefixed = frozenset({("group", "buyer_user_facts@1")})
    assert found["feature_store_group_freshness_seconds", prefixed] == freshness / 1e6


def test_turned_away_requests_are_counted_from_zero(server: ServerProcess) -> None:
    found = {dict(labels)["reason"] for name, labels in samples(server) if name == "feature_store_shed_requests_total"}
    assert found == {"busy", "rate-limited", "shutting-down"}
