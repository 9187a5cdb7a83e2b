"""What the server starts from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from feature_store.environment import whole_number
from feature_store.errors import StackError
from feature_store.online.read.node import MOST_WAITING
from feature_store.settings import Settings

DEFAULT_PORT = 14090
DRAIN_SECONDS = 10
"""How long requests that have begun may take after SIGTERM."""


@dataclass(frozen=True)
class ServingSettings:
    """Where the server listens and what it reads.

    Attributes:
        redis_url: the online store.
        registry_url: SQLAlchemy URL of the registry.
        snapshot: the file that keeps the last definitions for a start without the registry.
        packages: those that functions of on-demand features may be imported from.
        serving_host, serving_port: where it listens; 0 is any free port.
        most_waiting: commands that may wait for Redis at once; requests beyond them get a 503.
    """

    redis_url: str
    registry_url: str
    snapshot: Path
    packages: tuple[str, ...]
    serving_host: str = "127.0.0.1"
    serving_port: int = DEFAULT_PORT
    most_waiting: int = MOST_WAITING

    @classmethod
    def load(cls, environ: Mapping[str, str] = os.environ) -> ServingSettings:
        """The settings of this process; a variable of the environment wins over the running stack.

        Raises:
            StackError: if a service is named by neither, a variable makes no sense, or the address is one of a network:
                everybody there could read without a token.
        """
        settings = Settings.load(environ)
        host = environ.get("FS_SERVING_HOST") or "127.0.0.1"
        if not _is_loopback(host):
            raise StackError(
                f"{host} is not an address of this machine alone, and requests need no token yet",
                where="FS_SERVING_HOST",
                remedy="leave it out, or put a proxy that checks its callers before the server",
                code="open-address",
            )
        return cls(
            redis_url=settings.redis_url,
            registry_url=settings.database_url("registry"),
            snapshot=settings.home / "serving" / "definitions.json",
            packages=settings.definition_packages,
            serving_host=host,
            serving_port=whole_number(
                environ, "FS_SERVING_PORT", DEFAULT_PORT, least=0, most=65_535, noun="port", code="port"
            ),
            most_waiting=whole_number(
                environ,
                "FS_SERVING_QUEUE",
                MOST_WAITING,
                least=1,
                most=1_000_000,
                noun="number of commands",
                code="serving-queue",
            ),
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
