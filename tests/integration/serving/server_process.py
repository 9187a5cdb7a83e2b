"""A server of the tests alone: the process that users start, on a registry database of its own."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import urlencode

import msgspec

from feature_store.settings import REPOSITORY
from tests.conftest import PATIENCE_SECONDS

STARTER = """
import dataclasses, json, os, pathlib
from serving.__main__ import serve
from serving.settings import ServingSettings
changes = json.loads(os.environ["SERVING_CHANGES"])
serve(dataclasses.replace(ServingSettings.load(), **changes | {"snapshot": pathlib.Path(changes["snapshot"])}))
"""
"""The server's program with some of its settings changed."""


@contextmanager
def free_port(port: int) -> Iterator[int]:
    """A port, any if it is 0, that nobody else is given meanwhile."""
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", port))
        yield free.getsockname()[1]


@dataclass(frozen=True)
class Answer:
    """An answer of the server."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def packed(self) -> Any:
        return msgspec.msgpack.decode(self.body)


@dataclass
class ServerProcess:
    """A server on a port of its own, with a folder for its log and its snapshot; it reads this registry.

    Redis may take long to answer it, unless `changes` say otherwise: the machine may be busy with other tests.
    """

    folder: Path
    registry_url: str
    changes: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    port: int = 0
    grpc_port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def snapshot(self) -> Path:
        return self.folder / "definitions.json"

    def start(self, is_ready: Callable[[], bool] | None = None) -> None:
        """Starts it and waits until it is ready, as this says or /ready does."""
        process = self.launch()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (is_ready or self._is_ready)():
            assert process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def launch(self) -> subprocess.Popen[bytes]:
        """Starts it."""
        with ExitStack() as held:
            self.port, self.grpc_port = (held.enter_context(free_port(port)) for port in (self.port, self.grpc_port))
        changes = {"registry_url": self.registry_url, "snapshot": str(self.snapshot), "deadline": 20.0, **self.changes}
        given = {
            "FS_SERVING_PORT": str(self.port),
            "FS_SERVING_GRPC_PORT": str(self.grpc_port),
            "SERVING_CHANGES": json.dumps(changes),
            "PYTHONPATH": str(REPOSITORY),
            **self.environment,
        }
        with self.log.open("ab") as log:
            command = [sys.executable, "-c", STARTER]
            self.process = subprocess.Popen(command, env=os.environ | given, stdout=log, stderr=log, cwd=REPOSITORY)
        return self.process

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ends it; gives its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)

    def get(self, path: str, headers: Mapping[str, str] | None = None, **query: Any) -> Answer:
        """The answer to a GET."""
        text = f"{path}?{urlencode(query, doseq=True)}" if query else path
        return self.ask("GET", text, headers=headers)

    def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Answer:
        """The answer to a POST of a JSON body."""
        return self.ask("POST", path, msgspec.json.encode(body), headers)

    def ask(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        """The answer to any request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request(method, path, body or None, dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def _is_ready(self) -> bool:
        try:
            return self.get("/ready").status == 200
        except OSError:
            return False


class Peer:
    """The other end of a connection to a server: bytes out, answers in."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._file = connection.makefile("rb")

    def makefile(self, _: str) -> IO[bytes]:
        """What HTTPResponse reads: the connection's one buffer, which holds the next answers too."""
        return cast("IO[bytes]", _Shared(self._file))

    def send(self, *requests: bytes) -> None:
        self.connection.sendall(b"".join(requests))

    def answer(self, method: str = "GET") -> tuple[http.client.HTTPResponse, bytes]:
        found = http.client.HTTPResponse(cast("socket.socket", self), method=method)
        found.begin()
        return found, found.read()

    def ids(self) -> list[Any]:
        """The statuses of a columnar answer."""
        _, body = self.answer()
        return cast("list[Any]", json.loads(body)["groups"][0]["statuses"])

    def is_closed(self) -> bool:
        return self._file.read(1) == b""


class _Shared:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.read, self.readline, self.readinto = file.read, file.readline, file.readinto  # type: ignore[attr-defined]
        self.flush = lambda: None

    def close(self) -> None:
        """The next answer comes from it."""


@contextmanager
def connected(server: ServerProcess) -> Iterator[Peer]:
    """A connection to a server, for requests as they are sent."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_SECONDS) as connection:
        yield Peer(connection)


def get(path: str, *headers: str, version: str = "1.1") -> bytes:
    """A GET as it is sent."""
    return "\r\n".join([f"GET {path} HTTP/{version}", "Host: shop", *headers, "", ""]).encode()
