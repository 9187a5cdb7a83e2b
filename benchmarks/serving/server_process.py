"""A server of any make, on core 0, for as long as a block runs."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import psutil

from benchmarks.serving.measurement import Counts, Measurement
from benchmarks.serving.wrk import Request, Wrk
from feature_store.errors import StackError

CORE = 0
"""Of what is measured; whoever asks, and Redis, is on the other one."""
PATIENCE_SECONDS = 180


def on_core(command: Sequence[str], cores: str = str(CORE)) -> list[str]:
    """A command as one that runs on the core of what is measured, or on others."""
    return ["taskset", "-c", cores, *command]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclass(frozen=True)
class ServerProcess:
    """A server that answers on a port."""

    port: int
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """What it has taken so far, with its workers."""
        return sum(sum(each.cpu_times()[:2]) for each in (self.process, *self.process.children(recursive=True)))

    def measure(self, wrk: Wrk, requests: Sequence[Request], connections: int, seconds: float) -> Measurement:
        """One round.

        Raises:
            StackError: if a request failed.
        """
        counts, cpu_seconds = self.count(wrk, requests, connections, seconds)
        return counts.measurement(cpu_seconds)

    def count(self, wrk: Wrk, requests: Sequence[Request], connections: int, seconds: float) -> tuple[Counts, float]:
        """What wrk counts in one round, and the server's CPU in seconds.

        Raises:
            StackError: if a request failed.
        """
        self._wait_until_idle()
        before = self.cpu_seconds()
        counts = wrk.ask(self.port, requests, connections, seconds)
        return counts, self.cpu_seconds() - before

    def ask(self, request: Request) -> bytes:
        """The body of an answer.

        Raises:
            StackError: if it is not 200.
            OSError: if nobody listens.
        """
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            headers = {"Content-Type": "application/json"}
            headers |= {"Authorization": f"Bearer {request.token}"} if request.token else {}
            connection.request("POST" if request.body else "GET", request.path, request.body or None, headers)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise StackError(f"{request.path[:100]}: {answer.status} {body[:1_000]!r}", code="benchmark")
        return body

    def _wait_until_idle(self) -> None:
        """Until the requests that wrk left behind are answered."""
        taken = self.cpu_seconds()
        while True:
            time.sleep(0.1)
            now = self.cpu_seconds()
            if now - taken < 0.03:
                return
            taken = now


@contextmanager
def server_process(
    command: Sequence[str],
    environment: Mapping[str, str],
    port: int,
    ready: str,
    log: Path,
    cores: str = str(CORE),
) -> Iterator[ServerProcess]:
    """Starts a server and waits until its path `ready` gives 200.

    Raises:
        StackError: with its log, if it ends before, or takes too long.
    """
    with log.open("wb") as file:
        process = subprocess.Popen(on_core(command, cores), env={**os.environ, **environment}, stdout=file, stderr=file)
    try:
        server = ServerProcess(port, psutil.Process(process.pid))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not _is_ready(server, ready):
            if process.poll() is not None or time.monotonic() > deadline:
                raise StackError(f"{command[0]} does not come up: {log.read_text()[-4_000:]}", code="benchmark")
            time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        process.wait(30)


def _is_ready(server: ServerProcess, path: str) -> bool:
    try:
        server.ask(Request(path))
    except (OSError, StackError):
        return False
    return True
