"""A server whose Redis is killed or stopped, whose registry is gone, that is told to end: what it says, and values."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from feature_store.registry.store import Registry
from tests.conftest import Eventually
from tests.integration.own_valkey import Valkey, free_port, running_valkey
from tests.integration.serving.conftest import address_of
from tests.integration.serving.server_process import Answer, ServerProcess
from tests.integration.serving.shop import Shop

USERS = "/feature-groups/user_facts/online?entity_ids=a,b"
ENDED = (0, -signal.SIGTERM)
NOBODY = f"postgresql+psycopg2://fs:secret-word@127.0.0.1:{free_port()}/registry"


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    with running_valkey(tmp_path) as server:
        yield server


@pytest.fixture
def fragile(serving_registry: Registry, valkey: Valkey, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server on a Valkey of its own."""
    with valkey.client() as client:
        Shop.fill(serving_registry, client)
    process = ServerProcess(tmp_path, address_of(serving_registry), {"redis_url": valkey.url, "deadline": 0.25})
    process.start()
    yield process
    process.stop()


def found(answer: Answer) -> list[str]:
    assert answer.status == 200, answer.body
    return list(answer.json["groups"][0]["statuses"])


def test_entities_are_unavailable_while_redis_is_gone(
    fragile: ServerProcess, valkey: Valkey, eventually: Eventually
) -> None:
    before = fragile.get(USERS).json
    valkey.kill()
    eventually(lambda: found(fragile.get(USERS)) == ["UNAVAILABLE", "UNAVAILABLE"])
    lost = fragile.get(USERS).json
    assert lost["rows"] == [[7, "?", None]] * 2
    assert lost["groups"][0]["stale"]
    health = fragile.get("/health").json
    assert (health["status"], health["redis"]["up"]) == ("degraded", False)
    valkey.start()
    eventually(lambda: found(fragile.get(USERS)) == before["groups"][0]["statuses"])
    assert fragile.get(USERS).json["rows"] == before["rows"]


def test_a_stopped_redis_costs_a_deadline_not_a_thread(fragile: ServerProcess, valkey: Valkey) -> None:
    before = fragile.get(USERS).json
    valkey.signal(signal.SIGSTOP)
    with ThreadPoolExecutor(20) as pool:
        answers = [*pool.map(lambda _: found(fragile.get(USERS)), range(60))]
    assert answers == [["UNAVAILABLE", "UNAVAILABLE"]] * 60
    valkey.signal(signal.SIGCONT)
    while found(fragile.get(USERS)) == ["UNAVAILABLE", "UNAVAILABLE"]:
        pass
    assert fragile.get(USERS).json["rows"] == before["rows"]


def test_requests_beyond_the_queue_are_told_to_come_again(
    serving_registry: Registry, valkey: Valkey, tmp_path: Path
) -> None:
    changes = {"redis_url": valkey.url, "most_waiting": 2, "deadline": 0.25}
    small = ServerProcess(tmp_path, address_of(serving_registry), changes)
    with valkey.client() as client:
        Shop.fill(serving_registry, client)
    small.start()
    try:
        assert found(small.get(USERS))
        valkey.signal(signal.SIGSTOP)
        with ThreadPoolExecutor(10) as pool:
            answers = [*pool.map(lambda _: small.get(USERS), range(10))]
        refused = [answer for answer in answers if answer.status == 503]
        assert refused
        assert {(answer.json["code"], answer.headers["retry-after"]) for answer in refused} == {("busy", "1")}
        assert {answer.status for answer in answers} <= {200, 503}
        shed = 'feature_store_shed_requests_total{reason="busy"} '
        (counted,) = re.findall(f"^{re.escape(shed)}(.*)$", small.get("/metrics").body.decode(), re.MULTILINE)
        assert float(counted) == len(refused)
    finally:
        small.stop()


def test_it_starts_without_the_registry_from_its_last_snapshot(server: ServerProcess, tmp_path: Path) -> None:
    alone = ServerProcess(tmp_path, NOBODY)
    alone.snapshot.write_bytes(server.snapshot.read_bytes())
    alone.start()
    try:
        assert alone.get(USERS).json["rows"] == server.get(USERS).json["rows"]
        health = alone.get("/health").json
        assert (health["status"], health["registry"]["up"], health["registry"]["age"]) == ("degraded", False, None)
        usage = alone.get("/feature-views/ranking/usage")
        assert (usage.status, usage.json["code"]) == (503, "registry-down")
        shown = [alone.get("/health").body, usage.body, alone.get("/metrics").body, alone.log.read_bytes()]
        assert not any(b"secret-word" in text for text in shown)
    finally:
        assert alone.stop() in ENDED


def test_it_answers_what_has_begun_when_it_is_told_to_end(
    shop: Shop, serving_registry: Registry, tmp_path: Path
) -> None:
    ending = ServerProcess(tmp_path, address_of(serving_registry))
    ending.start()
    statuses: list[int] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            try:
                statuses.append(ending.get(USERS, {"X-Model": "last-words"}).status)
            except ConnectionError:
                return  # it does not listen any more

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    while len(statuses) < 50:
        pass
    assert ending.stop() in ENDED
    ended.set()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200}
    (used,) = serving_registry.usage("user_facts@1", kind="group")
    assert (used.model, used.uses) == ("last-words", len(statuses))
