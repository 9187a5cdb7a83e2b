"""Reads by GET leave ASGI out: what a connection does is the same as for every other request."""

from __future__ import annotations

import json
import select
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from feature_store.registry.store import Registry
from tests.integration.serving.conftest import address_of
from tests.integration.serving.server_process import ServerProcess, connected, get
from tests.integration.serving.shop import Shop

USERS = "/feature-groups/user_facts/online?entity_ids="


def ask(ids: Sequence[str]) -> bytes:
    return get(USERS + ",".join(ids))


def test_requests_in_one_packet_are_answered_in_their_order(server: ServerProcess, shop: Shop) -> None:
    with connected(server) as peer:
        for _ in range(3):
            peer.send(ask(["a"]), ask(["a"] * 2), get("/ready"), ask(["a"] * 3), ask(["a"] * 4), get("/nothing"))
            assert [len(peer.ids()), len(peer.ids())] == [1, 2]
            assert json.loads(peer.answer()[1]) == {"ready": True}
            assert [len(peer.ids()), len(peer.ids())] == [3, 4]
            assert peer.answer()[0].status == 404


def test_a_request_may_arrive_byte_by_byte(server: ServerProcess, shop: Shop) -> None:
    with connected(server) as peer:
        peer.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in ask(["a", "b"]):
            peer.send(bytes([byte]))
        assert len(peer.ids()) == 2


def test_requests_may_be_cut_anywhere(server: ServerProcess, shop: Shop) -> None:
    """A part of one comes alone, or with another one: what is read directly and what by the parser take turns."""
    two = ask(["a"]) + ask(["a", "b"])
    with connected(server) as peer:
        peer.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for place in range(1, len(two)):
            peer.send(two[:place])
            if place >= len(ask(["a"])):
                assert len(peer.ids()) == 1
            peer.send(two[place:])
            if place < len(ask(["a"])):
                assert len(peer.ids()) == 1
            assert len(peer.ids()) == 2
            peer.send(ask(["a"] * 3))
            assert len(peer.ids()) == 3


@pytest.mark.parametrize(
    ("request_", "keeps"),
    [
        (get(USERS + "a"), True),
        (get(USERS + "%61"), True),
        (get(USERS + "a").replace(b"user_facts", b"user%5Ffacts"), True),
        (get(USERS + "a", "Content-Length: 4") + b"body", True),
        (get(USERS + "a", "Transfer-Encoding: chunked") + b"4\r\nbody\r\n0\r\n\r\n", True),
        (get(USERS + "a", "Expect: 100-continue"), True),
        (get(USERS + "a", "Connection: upgrade", "Upgrade: websocket"), True),
        (get("http://shop" + USERS + "a"), True),
        (get(USERS + "a", "Connection: close"), False),
        (get(USERS + "a", version="1.0"), False),
    ],
)
def test_every_form_of_a_request_gets_the_same_answer(
    server: ServerProcess, shop: Shop, request_: bytes, keeps: bool
) -> None:
    with connected(server) as peer:
        peer.send(request_)
        answer, body = peer.answer()
        assert (answer.status, len(json.loads(body)["rows"])) == (200, 1)
        assert {"date", "content-type", "x-request-id"} <= {name.lower() for name, _ in answer.getheaders()}
        if keeps:
            peer.send(ask(["a", "b"]))
            assert len(peer.ids()) == 2
        else:
            assert peer.is_closed()


def test_a_head_has_the_headers_of_a_get(server: ServerProcess, shop: Shop) -> None:
    with connected(server) as peer:
        peer.send(ask(["a"]), ask(["a"]).replace(b"GET", b"HEAD"), get("/ready"))
        whole, body = peer.answer()
        head, nothing = peer.answer("HEAD")
        assert (head.status, head.getheader("content-type"), nothing) == (200, whole.getheader("content-type"), b"")
        assert abs(int(head.getheader("content-length") or 0) - len(body)) < 10  # the instant of the request differs
        assert json.loads(peer.answer()[1]) == {"ready": True}


def test_answers_wait_for_a_slow_reader(server: ServerProcess, shop: Shop) -> None:
    """Much more than fits the buffers of both ends is asked for before anything is read."""
    ids = [f"u{i}" for i in range(1_000)]
    with connected(server) as peer:
        peer.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        peer.send(*[ask(ids)] * 60)
        with connected(server) as other:
            other.send(ask(["a"]))
            assert len(other.ids()) == 1
        assert [len(peer.ids()) for _ in range(60)] == [1_000] * 60


def test_a_caller_that_leaves_disturbs_nobody(server: ServerProcess, shop: Shop) -> None:
    for _ in range(50):
        with connected(server) as peer:
            peer.send(*[ask(["a"] * 100)] * 5)
    with connected(server) as peer:
        peer.send(ask(["a"]))
        assert len(peer.ids()) == 1
    assert "Traceback" not in server.log.read_text()


def test_connections_without_a_request_end_with_the_server(
    serving_registry: Registry, shop: Shop, tmp_path: Path
) -> None:
    process = ServerProcess(tmp_path, address_of(serving_registry))
    process.start()
    with connected(process) as peer:
        peer.send(ask(["a"]))
        assert len(peer.ids()) == 1
        assert process.stop(signal.SIGTERM) in (0, -signal.SIGTERM)
        assert peer.is_closed()


@pytest.fixture(scope="module")
def hasty(serving_registry: Registry, shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that waits a second for a request."""
    changes = {"request_seconds": 1}
    process = ServerProcess(tmp_path_factory.mktemp("hasty"), address_of(serving_registry), changes)
    process.start()
    yield process
    process.stop()


def test_a_request_that_does_not_arrive_ends_its_connection(hasty: ServerProcess) -> None:
    """However much of it has come; a connection without any is ended too, and others are answered meanwhile."""
    post = (
        b"POST "
        + USERS.encode()
        + b" HTTP/1.1\r\nHost: shop\r\nContent-Length: 9\r\nContent-Type: application/json\r\n\r\n"
    )
    begun = (b"G", ask(["a"])[:-3], ask(["a"]) + ask(["a"])[:-3], post, post + b"{")
    with ExitStack() as stack:
        idle = stack.enter_context(connected(hasty))
        peers = [stack.enter_context(connected(hasty)) for _ in begun]
        for peer, part in zip(peers, begun, strict=True):
            peer.send(part)
        assert len(peers[2].ids()) == 1
        for peer in peers:
            answer, body = peer.answer()
            assert (answer.status, json.loads(body)["code"]) == (408, "slow-request")
        assert all(peer.is_closed() for peer in (idle, *peers))


def test_a_body_that_trickles_is_not_waited_for(hasty: ServerProcess) -> None:
    with connected(hasty) as peer:
        peer.send(b"POST " + USERS.encode() + b" HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1_000):  # no single byte is late
            if select.select([peer.connection], [], [], 0.1)[0]:
                break
            peer.send(b" ")
        assert peer.answer()[0].status == 408
        assert peer.is_closed()


def test_a_head_has_a_bound(server: ServerProcess, shop: Shop) -> None:
    with connected(server) as peer:
        peer.send(b"GET /ready HTTP/1.1\r\nHost: shop\r\n")
        with suppress(ConnectionError):
            for i in range(100):
                peer.send(b"X-%d: %b\r\n" % (i, b"x" * 60_000))
        with suppress(ConnectionError):  # the answer is lost where the rest of the head was still on its way
            assert peer.answer()[0].status == 413
            assert peer.is_closed()
    with connected(server) as peer:
        peer.send(ask(["a"]))
        assert len(peer.ids()) == 1
