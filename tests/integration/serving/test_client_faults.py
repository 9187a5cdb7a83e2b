"""A client whose server is slow, dead, killed in the middle, started again, behind or something else altogether."""

from __future__ import annotations

import asyncio
import http.server
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from feature_store import AsyncFeatureStoreClient, FeatureStoreClient
from feature_store.errors import StackError
from feature_store.online.vectors import OnlineVectors
from feature_store.registry.store import Registry
from tests.conftest import Eventually
from tests.integration.own_valkey import free_port, running_valkey
from tests.integration.serving.balancer import running_balancer
from tests.integration.serving.conftest import address_of
from tests.integration.serving.server_process import ServerProcess
from tests.integration.serving.shop import Shop

ROWS = [{"user_id": "a"}, {"user_id": "b"}]
KINDS = ("threads", "events")
PATIENT = 30.0
"""Seconds that a call may take where it is to succeed."""
Call = Callable[..., OnlineVectors]


@pytest.fixture(scope="module")
def module_server(
    serving_registry: Registry, shop: Shop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    assert shop.views
    process = ServerProcess(tmp_path_factory.mktemp("stopped"), address_of(serving_registry))
    process.start()
    yield process
    process.stop(signal.SIGKILL)


@pytest.fixture
def own_server(module_server: ServerProcess) -> Iterator[ServerProcess]:
    """A server that is stopped and killed."""
    yield module_server
    send(module_server, signal.SIGCONT)


@contextmanager
def clients(kind: str) -> Iterator[Callable[..., Call]]:
    """Makes clients of a kind, for threads or for an event loop; gives a function that reads users with one."""
    kept: list[FeatureStoreClient] = []
    with asyncio.Runner() as runner:

        def make(port: int, **options: Any) -> Call:
            url = f"http://localhost:{port}"
            if kind == "threads":
                client = FeatureStoreClient(url, "", **options)
                kept.append(client)
                return lambda **given: client.online("user_facts", ROWS, kind="group", **given)
            events = AsyncFeatureStoreClient(url, "", **options)
            return lambda **given: runner.run(events.online("user_facts", ROWS, kind="group", **given))

        yield make
    for client in kept:
        client.close()


@pytest.fixture(params=KINDS)
def calling(request: pytest.FixtureRequest) -> Iterator[Callable[..., Call]]:
    """Makes clients of either kind."""
    with clients(request.param) as make:
        yield make


def send(server: ServerProcess, number: int) -> None:
    assert server.process is not None
    server.process.send_signal(number)


def wait_for_requests(port: int, count: int) -> None:
    """Waits until so many connections to a port have bytes that nobody has read: requests to a stopped server."""
    while sum(_unread(Path(table), f":{port:04X}") for table in ("/proc/net/tcp", "/proc/net/tcp6")) < count:
        time.sleep(0.005)


def _unread(table: Path, port: str) -> int:
    lines = (line.split() for line in table.read_text().splitlines()[1:])
    return sum(local.endswith(port) and int(queues.partition(":")[2], 16) > 1 for _, local, _, _, queues, *_ in lines)


def test_a_server_that_hangs_costs_a_deadline(own_server: ServerProcess, calling: Callable[..., Call]) -> None:
    call = calling(own_server.port, deadline=PATIENT)
    before = call().to_dicts()
    send(own_server, signal.SIGSTOP)
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(StackError, match=r"no answer within 0\.2 s: it does not answer") as error:
            call(deadline=0.2)
        assert error.value.code == "deadline"
        assert 0.2 <= time.monotonic() - began < 2
    send(own_server, signal.SIGCONT)
    assert call().to_dicts() == before


def test_a_second_request_overtakes_one_that_hangs(
    own_server: ServerProcess, server: ServerProcess, calling: Callable[..., Call], eventually: Eventually
) -> None:
    """The first connection goes to a server that is stopped, the second one to another server."""
    expected = calling(server.port, deadline=PATIENT)().to_dicts()
    send(own_server, signal.SIGSTOP)
    with running_balancer([own_server.port, server.port]) as balancer:
        began = time.monotonic()
        call = calling(balancer.port, deadline=PATIENT, hedge_after=0.1)
        assert call().to_dicts() == expected
        assert time.monotonic() - began < PATIENT / 3
        eventually(lambda: balancer.closed >= 1)  # the one that has lost
        opened = balancer.opened
        assert opened in (2, 3)  # the schema is asked for over the connection that has won
        assert [call().to_dicts() for _ in range(5)] == [expected] * 5
        assert balancer.opened == opened  # who answers in time is asked once
    with running_balancer([own_server.port, server.port]) as balancer, pytest.raises(StackError) as error:
        calling(balancer.port, deadline=0.3)()
    assert error.value.code == "deadline"


def test_a_server_that_is_killed_and_comes_back_is_asked_again(own_server: ServerProcess) -> None:
    with clients("threads") as threads, clients("events") as events:
        asking = [make(own_server.port, deadline=PATIENT) for make in (threads, events)]
        resting = [make(own_server.port, deadline=PATIENT) for make in (threads, events)]
        before = [call().to_dicts() for call in (*asking, *resting)]
        send(own_server, signal.SIGSTOP)
        with ThreadPoolExecutor(2) as pool:
            asked = [pool.submit(call) for call in asking]
            wait_for_requests(own_server.port, 2)
            own_server.stop(signal.SIGKILL)
            with pytest.raises(StackError, match="Connection refused") as error:
                threads(own_server.port, deadline=0.1)()
            assert error.value.code == "deadline"
            own_server.start()
            found = [each.result().to_dicts() for each in asked]
        found += [call().to_dicts() for call in resting]  # their idle connections have ended
        assert found == before


def test_a_server_that_is_behind_is_believed(
    serving_registry: Registry, tmp_path: Path, eventually: Eventually
) -> None:
    """It takes one command at a time, and asks the others to come again after a second, which is after the deadline."""
    with running_valkey(tmp_path) as valkey:
        with valkey.client() as redis:
            Shop.fill(serving_registry, redis)
        behind = ServerProcess(
            tmp_path, address_of(serving_registry), {"redis_url": valkey.url, "most_waiting": 1, "deadline": 0.25}
        )
        behind.start()
        url = f"http://127.0.0.1:{behind.port}"
        client = FeatureStoreClient(url, "")
        expected = client.online("user_facts", ROWS, kind="group", deadline=PATIENT).to_dicts()

        def ask(_: int) -> str:
            try:
                client.online("user_facts", ROWS, kind="group", deadline=0.9)
            except StackError as error:
                return f"{error.code}: {error.where}"
            return ""

        async def ask_all() -> list[str]:
            async with AsyncFeatureStoreClient(url, "") as events:
                calls = [events.online("user_facts", ROWS, kind="group", deadline=0.9) for _ in range(10)]
                return [str(found) for found in await asyncio.gather(*calls, return_exceptions=True)]

        valkey.signal(signal.SIGSTOP)
        with ThreadPoolExecutor(10) as pool:
            told = [*pool.map(ask, range(10))]
        assert "" in told
        assert any(text.startswith("busy: Redis, request ") for text in told)
        valkey.signal(signal.SIGCONT)
        eventually(lambda: client.online("user_facts", ROWS, kind="group", deadline=PATIENT).to_dicts() == expected)
        valkey.signal(signal.SIGSTOP)
        assert any("[busy]" in text for text in asyncio.run(ask_all()))
        valkey.signal(signal.SIGCONT)
        behind.stop(signal.SIGKILL)


def test_what_is_no_server_of_vectors_is_told_so(
    server: ServerProcess, tmp_path: Path, calling: Callable[..., Call]
) -> None:
    pages = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    with pages:
        thread = threading.Thread(target=pages.serve_forever, args=(0.02,))
        thread.start()
        with pytest.raises(StackError, match="status 501 without a problem in it") as error:
            calling(pages.server_port, deadline=PATIENT)()
        assert error.value.code == "unexpected-answer"
        pages.shutdown()
        thread.join()
    with running_valkey(tmp_path) as valkey, pytest.raises(StackError) as error:
        calling(valkey.port, deadline=0.1)()
    assert error.value.code == "deadline"
    with pytest.raises(StackError, match="Connect") as error:
        calling(free_port(), deadline=1.0)()
    with pytest.raises(StackError, match=r"nowhere\.invalid") as error:
        FeatureStoreClient("http://nowhere.invalid", "", deadline=1.0).online("ranking", ROWS)
    with pytest.raises(StackError) as error:
        FeatureStoreClient(f"https://localhost:{server.port}", "", deadline=0.1).online("ranking", ROWS)
    assert error.value.code == "deadline"


def test_a_certificate_is_checked(server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "1"]
    command += ["-keyout", str(certificate), "-out", str(tmp_path / "shown.pem")]
    subprocess.run(command, check=True, capture_output=True)
    certificate.write_text(certificate.read_text() + (tmp_path / "shown.pem").read_text())
    expected = FeatureStoreClient(f"http://localhost:{server.port}", "", deadline=PATIENT).online(
        "user_facts", ROWS, kind="group"
    )

    async def read(url: str) -> OnlineVectors:
        async with AsyncFeatureStoreClient(url, "", deadline=PATIENT) as client:
            await client.online("user_facts", ROWS, kind="group")
            return await client.online("user_facts", ROWS, kind="group")

    with running_balancer([server.port], certificate) as balancer:
        url = f"https://localhost:{balancer.port}"
        with pytest.raises(StackError, match="certificate verify failed"):
            FeatureStoreClient(url, "", deadline=0.2).online("user_facts", ROWS, kind="group")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "shown.pem"))
        opened = balancer.opened
        with FeatureStoreClient(url, "", deadline=PATIENT) as client:
            for _ in range(3):
                assert client.online("user_facts", ROWS, kind="group").to_dicts() == expected.to_dicts()
            large = [{"user_id": "x" * 900, "ignored": i} for i in range(900)]
            assert len(client.online("user_facts", large, kind="group")) == 900
        assert balancer.opened == opened + 1
        assert asyncio.run(read(url)).to_dicts() == expected.to_dicts()
        assert balancer.opened == opened + 2
