"""Reading the logs of the stack's services: the end of one or all, and what is added from then on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from feature_store.errors import NotFoundError

_POLL_SECONDS = 0.3
_LARGEST_TAIL_BYTES = 1 << 16


def log_files(home: Path, service: str | None) -> dict[str, Path]:
    """The log of one service, or all logs, by service.

    Raises:
        NotFoundError: if there is no such log; it names those there are.
    """
    present = {path.stem: path for path in sorted((home / "logs").glob("*.log"))}
    if service is None:
        return present
    if service not in present:
        known = ", ".join(present) or "none yet; run ./fs up"
        raise NotFoundError(
            f"there is no log of {service!r}", where=str(home / "logs"), remedy=f"logs: {known}", code="no-log"
        )
    return {service: present[service]}


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a log (at most 64 KiB of it)."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _LARGEST_TAIL_BYTES))
        return file.read().decode("utf-8", "replace").splitlines()[-lines:]


def follow(files: dict[str, Path]) -> Iterator[tuple[str, str]]:
    """Lines as they are written from now on, with the service they come from; never ends. Survives rotation."""
    positions = {service: path.stat().st_size for service, path in files.items()}
    while True:
        for service, path in files.items():
            if not path.exists():
                continue
            if path.stat().st_size < positions[service]:
                positions[service] = 0
            with path.open("rb") as file:
                file.seek(positions[service])
                complete, _, _ = file.read().rpartition(b"\n")
            if complete:
                positions[service] += len(complete) + 1
                yield from ((service, line) for line in complete.decode("utf-8", "replace").splitlines())
        time.sleep(_POLL_SECONDS)
