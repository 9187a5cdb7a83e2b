"""Processes of a server that hang are killed and replaced, while another one answers."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

from feature_store import INT, STRING, FeatureStoreClient, FeatureView, OnDemand
from feature_store.dsl.collect import Project
from feature_store.online.connection import connect
from feature_store.plan.project import compile_project
from feature_store.settings import Settings
from tests.conftest import Eventually
from tests.integration.serving.conftest import NewRegistry, address_of
from tests.integration.serving.grpc_client import SECONDS
from tests.integration.serving.server_process import Peer, ServerProcess, connected, get
from tests.integration.serving.shop import GROUPS, USERS, Shop
from tests.unit import on_demand_functions as functions

LOCKING = FeatureView(
    "locking",
    groups=[USERS.select("user_count")],
    request={"country": STRING},
    on_demand=[OnDemand("held", function=functions.held, dtype=INT)],
    owner="team:ranking",
)
SILENT_SECONDS = 3


@contextmanager
def three_processes(stack: Settings, new_registry: NewRegistry, folder: Path) -> Iterator[ServerProcess]:
    registry = new_registry("registry_of_hanging_workers")
    with connect(stack.redis_url) as redis:
        Shop.fill(registry, redis)
    project = Project(GROUPS, (LOCKING,), {}, packages=("tests",))
    registry.apply(registry.plan(compile_project(project)), "tests")
    environment = {"FS_SERVING_PROCESSES": "3", "FS_SERVING_SILENCE": str(SILENT_SECONDS)}
    server = ServerProcess(folder, address_of(registry), {"packages": ["tests"]}, environment)
    server.start()
    try:
        yield server
    finally:
        server.stop(signal.SIGKILL)


def workers_of(peer: Peer) -> dict[str, int]:
    """Which process answers on a connection, and how many are up."""
    peer.send(get("/health"))
    found: dict[str, int] = json.loads(peer.answer()[1])["workers"]
    return found


def test_processes_that_hang_are_replaced(
    stack: Settings, new_registry: NewRegistry, eventually: Eventually, tmp_path: Path
) -> None:
    """One is stopped, another one runs a function that keeps the interpreter to itself."""
    hold = tmp_path / "hold"
    hold.touch()
    with three_processes(stack, new_registry, tmp_path) as server, ExitStack() as held:
        peers: dict[int, Peer] = {}

        def have_all() -> bool:
            peer = held.enter_context(connected(server))
            peers.setdefault(workers_of(peer)["pid"], peer)
            return len(peers) == 3

        eventually(have_all)
        (stopped, _), (locked, poisoned), (third, steady) = peers.items()
        answers: list[object] = []
        ended = threading.Event()
        with FeatureStoreClient(f"http://127.0.0.1:{server.port}", "", deadline=SECONDS) as client:
            rows = [{"user_id": "a"}, {"user_id": "nobody"}]
            right = client.online("user_facts", rows, kind="group").to_dicts()

            def ask() -> None:
                while not ended.is_set():
                    answers.append(client.online("user_facts", rows, kind="group").to_dicts())

            asking = threading.Thread(target=ask)
            asking.start()
            os.kill(stopped, signal.SIGSTOP)
            poisoned.send(get(f"/feature-views/locking/online?user_id=a&country=locked:{hold}"))
            eventually(lambda: not psutil.pid_exists(stopped) and not psutil.pid_exists(locked))
            hold.unlink()
            assert workers_of(steady)["pid"] == third

            def are_replaced() -> bool:
                with suppress(OSError), connected(server) as peer:
                    found = workers_of(peer)
                    return found["up"] == 3 and found["pid"] not in (stopped, locked, third)
                return False

            eventually(are_replaced)
            known = len(answers)
            eventually(lambda: len(answers) > known + 20)
            ended.set()
            asking.join()
        assert all(answer == right for answer in answers)
        log = server.log.read_text()
        assert log.count(f"hangs: it has told nothing for {SILENT_SECONDS} s, and is killed") == 2
