"""Several processes of one server on one port: who answers, one that is killed, the end of all, counts together."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import grpc
import psutil
import pytest

from feature_store import FeatureStoreClient
from feature_store.registry.store import Registry
from feature_store.remote.online_pb2 import ReadRequest
from feature_store.remote.online_pb2_grpc import OnlineStub
from tests.conftest import Eventually
from tests.integration.own_valkey import running_valkey
from tests.integration.serving.conftest import address_of
from tests.integration.serving.grpc_client import SECONDS
from tests.integration.serving.server_process import Peer, ServerProcess, connected, get
from tests.integration.serving.shop import Shop

USERS = "/feature-groups/user_facts/online?entity_ids=a,b"
VISITS = "/feature-groups/user_visits/online?entity_ids=a,b"
TWO = {"FS_SERVING_PROCESSES": "2"}


@pytest.fixture(scope="module")
def two(serving_registry: Registry, shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of two processes."""
    assert shop.views
    server = ServerProcess(tmp_path_factory.mktemp("workers"), address_of(serving_registry), environment=TWO)
    server.start()
    workers_of(server)
    yield server
    assert server.stop() == 0


@pytest.fixture
def own(serving_registry: Registry, shop: Shop, tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Makes servers of two processes, of one test alone."""
    assert shop.views
    with ExitStack() as ending:

        def make(changes: dict[str, str | float] | None = None, **environment: str) -> ServerProcess:
            server = ServerProcess(tmp_path, address_of(serving_registry), changes or {}, TWO | environment)
            ending.callback(lambda: server.process and server.stop(signal.SIGKILL))
            return server

        yield make


def workers_of(server: ServerProcess) -> set[int]:
    """The processes that answer, when both do."""
    seen: set[int] = set()
    while True:
        with suppress(OSError):
            workers = server.get("/health").json["workers"]
            assert workers["of"] == 2
            seen.add(workers["pid"])
            if len(alive := {pid for pid in seen if psutil.pid_exists(pid)}) == workers["up"] == 2:
                return alive


def counted(server: ServerProcess, group: str) -> float:
    """All requests for a group, as /metrics has them."""
    pattern = rf'^feature_store_request_seconds_count\{{route="[^"]*",target="{group}"\}} (.*)$'
    found = re.search(pattern, server.get("/metrics").body.decode(), re.MULTILINE)
    return float(found[1]) if found else 0.0


def health(peer: Peer) -> dict[str, int]:
    """Which process answers on a connection."""
    peer.send(get("/health"))
    found: dict[str, int] = json.loads(peer.answer()[1])["workers"]
    return found


def rows_of(body: bytes) -> list[object]:
    rows: list[object] = json.loads(body)["rows"]
    return rows


def log_of(server: ServerProcess) -> list[dict[str, str]]:
    return [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]


def test_two_processes_answer_on_one_port(two: ServerProcess, server: ServerProcess) -> None:
    pids = workers_of(two)
    assert two.process is not None
    assert two.process.pid not in pids
    right = rows_of(server.get(USERS).body)
    assert all(rows_of(two.get(USERS).body) == right for _ in range(20))
    ready = two.get("/ready").json
    assert (ready["ready"], ready["workers"]["up"]) == (True, 2)
    assert {line.get("worker") for line in log_of(two)} == {None, 1, 2}


def test_two_processes_answer_over_grpc(two: ServerProcess) -> None:
    """Ids of requests begin with the process."""
    seen: set[int] = set()
    wanted = workers_of(two)
    while seen != wanted:
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{two.grpc_port}", options) as channel:
            with pytest.raises(grpc.RpcError) as error:
                OnlineStub(channel).ReadGroup(ReadRequest(id="nothing"), timeout=SECONDS)
            told = dict(error.value.trailing_metadata())  # type: ignore[attr-defined] # a call, too
        seen.add(int(told["x-request-id"].partition("-")[0], 16))


def test_the_counts_of_all_processes_are_shown_by_each(two: ServerProcess, eventually: Eventually) -> None:
    for _ in range(40):
        assert two.get("/feature-groups/seller_facts/online?entity_ids=a").status == 200
    eventually(lambda: counted(two, "seller_facts@1") == 40)
    assert {counted(two, "seller_facts@1") for _ in range(10)} == {40}
    assert b"\nfeature_store_workers 2.0\n" in two.get("/metrics").body


def test_one_that_is_killed_under_load_is_replaced(
    two: ServerProcess, eventually: Eventually, record_property: Callable[[str, object], None]
) -> None:
    rows = [{"user_id": "a"}, {"user_id": "b"}]
    before, killed = workers_of(two), workers_of(two).pop()
    answers: list[object] = []
    counts: list[float] = []
    ended = threading.Event()
    with FeatureStoreClient(f"http://127.0.0.1:{two.port}", "", deadline=SECONDS) as client:
        right = client.online("user_facts", rows, kind="group").to_dicts()

        def ask() -> None:
            while not ended.is_set():
                answers.append(client.online("user_facts", rows, kind="group").to_dicts())

        def count() -> None:
            while not ended.is_set():
                with suppress(OSError):  # of the one that is killed
                    counts.append(counted(two, "user_facts@1"))

        threads = [threading.Thread(target=each) for each in (ask, ask, ask, count)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(answers) > 100)
        os.kill(killed, signal.SIGKILL)
        began = time.monotonic()
        eventually(lambda: killed not in workers_of(two))
        record_property("seconds until a new process answered", time.monotonic() - began)
        after, asked = workers_of(two), len(answers)
        eventually(lambda: len(answers) > asked + 100)
        ended.set()
        for thread in threads:
            thread.join()
    assert all(answer == right for answer in answers)
    assert len(before & after) == 1
    assert counts == sorted(counts)
    assert counted(two, "user_facts@1") >= counts[-1] > 0


def test_what_has_begun_in_both_is_answered_before_they_end(
    own: Callable[..., ServerProcess], tmp_path: Path, serving_registry: Registry
) -> None:
    """Requests wait for a Redis that is stopped while the server is told to end."""
    with running_valkey(tmp_path) as valkey, ExitStack() as open_connections:
        with valkey.client() as redis:
            Shop.write(redis)
        server = own({"redis_url": valkey.url, "deadline": 9.0})
        server.start()
        pids = workers_of(server)
        right = rows_of(server.get(VISITS).body)
        peers: dict[int, list[Peer]] = {pid: [] for pid in pids}
        while min(map(len, peers.values())) < 3:
            peer = open_connections.enter_context(connected(server))
            peers[health(peer)["pid"]].append(peer)
        valkey.signal(signal.SIGSTOP)
        waiting = [peer for _, *others in peers.values() for peer in others]
        for peer in waiting:
            peer.send(get(VISITS, "X-Model: last-words"))
        for pid, (first, *_) in peers.items():
            assert health(first)["pid"] == pid  # it has read what came before this, too
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        valkey.signal(signal.SIGCONT)
        answers = [peer.answer() for peer in waiting]
        assert [(head.status, rows_of(body)) for head, body in answers] == [(200, right)] * len(waiting)
        assert server.stop() == 0
    (used,) = serving_registry.usage("user_visits@1", kind="group")
    assert (used.model, used.uses) == ("last-words", len(waiting))
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_workers_end_when_their_parent_is_killed(
    own: Callable[..., ServerProcess], tmp_path: Path, eventually: Eventually
) -> None:
    """On any free ports, which the log tells."""
    server = own(FS_SERVING_PORT="0", FS_SERVING_GRPC_PORT="0", TMPDIR=str(tmp_path))

    def is_ready() -> bool:
        for line in log_of(server):
            if found := re.search(r"Running on http://127\.0\.0\.1:(\d+), gRPC on port \d+, by 2", line["message"]):
                server.port = int(found[1])
                with suppress(OSError):
                    return server.get("/ready").status == 200
        return False

    server.start(is_ready)
    pids = workers_of(server)
    assert [*tmp_path.glob("fs-serving-*")]
    assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    eventually(lambda: not any(psutil.pid_exists(pid) for pid in pids))
    assert not [*tmp_path.glob("fs-serving-*")]


def test_a_server_that_can_never_begin_says_why(own: Callable[..., ServerProcess], two: ServerProcess) -> None:
    server = own({"redis_url": "http://127.0.0.1"})
    assert server.launch().wait(SECONDS) == 1
    last = log_of(server)[-1]["message"]
    assert re.match(r"the server ends, as worker \d cannot begin: .*redis", last)
    taken = own(FS_SERVING_PORT=str(two.port))
    assert taken.launch().wait(SECONDS) == 1
    assert "FS_SERVING_PORT: cannot listen on 127.0.0.1" in taken.log.read_text()
    assert workers_of(two)
