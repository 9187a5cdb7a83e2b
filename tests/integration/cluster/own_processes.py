"""Processes of tests: started with their words in a file, waited for until they listen, ended by their ids."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE_SECONDS = 120.0


@dataclass
class OwnProcess:
    """A program that may be killed and started again, always on the same port (0: on none)."""

    command: Sequence[str]
    log: Path
    environment: Mapping[str, str]
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        with self.log.open("ab") as words:
            self.process = subprocess.Popen(self.command, stdout=words, stderr=words, env=dict(self.environment))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.port and not _listens(self.port):
            assert self.process.poll() is None, self.log.read_text()[-2000:]
            assert time.monotonic() < deadline, self.log.read_text()[-2000:]
            time.sleep(0.05)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(60)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid


def _listens(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(5)
        return client.connect_ex(("127.0.0.1", port)) == 0
