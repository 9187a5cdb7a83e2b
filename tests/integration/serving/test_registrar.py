"""The process beside the server that registers groups: it is killed, and it ends with the server."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from sqlalchemy import text

from feature_store.registry.database import take_turn
from feature_store.registry.store import Registry
from tests.conftest import Eventually
from tests.integration.serving.conftest import address_of
from tests.integration.serving.posting import post, told, trips
from tests.integration.serving.server_process import ServerProcess


def registrars(server: ServerProcess) -> list[psutil.Process]:
    assert server.process is not None
    children = psutil.Process(server.process.pid).children()
    return [child for child in children if "serving.registrar" in child.cmdline()]


def are_waiting(registry: Registry) -> bool:
    with registry.engine.connect() as connection:
        return bool(
            connection.scalar(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
        )


def test_one_that_is_killed_is_replaced(
    posting_server: ServerProcess, posting_registry: Registry, eventually: Eventually
) -> None:
    """While it waits for the registry, so that whoever has posted is told, and while it has nothing to do."""
    given = trips(name="user_trips_killed")
    assert told(post(posting_server, given, "?plan=true")) == (200, "planned")
    (first,) = registrars(posting_server)
    with posting_registry.engine.connect() as other, ThreadPoolExecutor(1) as pool:
        take_turn(other)
        waiting = pool.submit(post, posting_server, given)
        eventually(lambda: are_waiting(posting_registry))
        assert posting_server.get("/feature-groups/user_facts/online?entity_ids=a").status == 200
        first.kill()
        assert told(waiting.result()) == (503, "registrar-ended")
    assert told(post(posting_server, given, "?plan=true")) == (200, "planned")
    (second,) = registrars(posting_server)
    assert second.pid != first.pid
    second.kill()
    eventually(lambda: not psutil.pid_exists(second.pid))  # one that is dying has no command line any more
    assert told(post(posting_server, given, "?plan=true")) == (200, "planned")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_the_server(
    posting_registry: Registry, eventually: Eventually, tmp_path: Path, number: signal.Signals
) -> None:
    server = ServerProcess(tmp_path, address_of(posting_registry))
    server.start()
    assert told(post(server, trips(name="user_trips_planned"), "?plan=true")) == (200, "planned")
    (process,) = registrars(server)
    server.stop(number)
    eventually(lambda: not process.is_running())
