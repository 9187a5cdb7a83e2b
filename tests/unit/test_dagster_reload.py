"""Asking Dagster to load its definitions anew, where there is no good Dagster: what callers are told."""

from __future__ import annotations

import asyncio
import http.server
import socket
import threading

from serving.dagster import DagsterServer, Reload


def asked(url: str, patience: float = 5.0) -> Reload:
    return asyncio.run(DagsterServer(url, patience).reload())


def test_nobody_is_asked_where_nobody_is_known() -> None:
    assert asked("").status == "not configured"


def test_a_dagster_that_is_silent_or_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = asked(address, 0.1)
        assert began.status == "unanswered"
    gone = asked(address)
    assert (gone.status, "refused" in gone.detail) == ("failed", True)


def test_something_that_is_no_dagster() -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as other:
        serving = threading.Thread(target=other.serve_forever, args=(0.01,))
        serving.start()
        try:
            assert asked(f"http://127.0.0.1:{other.server_port}").status == "failed"
        finally:
            other.shutdown()
            serving.join()
