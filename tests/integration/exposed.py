"""Where passwords must not stand: arguments, environments, files, logs, Flink's answers, tables."""

from __future__ import annotations

import json
import stat
import threading
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import create_engine, inspect, text

from feature_store.errors import NotFoundError
from feature_store.settings import DATABASES, Settings
from feature_store.streaming.cluster import FlinkCluster

_LOOK_SECONDS = 0.3
_PRIVATE = ("stack.json", "postgres", "valkey", "secrets")
"""Of a state folder: what only its owner can read, and has to hold passwords."""
_OF_JOBS = ("", "/config", "/plan", "/exceptions", "/checkpoints", "/checkpoints/config", "/jobmanager/config")
_OF_CLUSTERS = ("/config", "/overview", "/jobmanager/config", "/jobmanager/environment", "/taskmanagers")


class Processes:
    """Remembers, while the block lasts, the arguments of every process, and the environments of a state folder's."""

    def __init__(self, home: Path) -> None:
        self.seen: set[tuple[str, str]] = set()
        self._mark = str(home).encode()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):  # it has ended
                    arguments, environment = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
                    what = f"arguments of {arguments[:60].decode(errors='replace')}"
                    self.seen.add((what, arguments.decode(errors="replace")))
                    if self._mark in environment:
                        self.seen.add((f"environment beside {what}", environment.decode(errors="replace")))


def files(home: Path) -> Iterator[tuple[str, str]]:
    """What stands in the files of a state folder, but for those that are private."""
    for path in home.rglob("*"):
        if path.relative_to(home).parts[0] in _PRIVATE or path.is_symlink() or not path.is_file():
            continue
        with suppress(OSError):  # it is gone
            yield str(path), path.read_bytes().decode(errors="replace")


def open_files(home: Path) -> list[Path]:
    """The private files of a state folder that others can read."""
    folders = [home / name for name in _PRIVATE if (home / name).exists()]
    closed = [each for each in folders if each.is_dir() and not stat.S_IMODE(each.stat().st_mode) & 0o077]
    inside = [path for each in folders for path in (each, *each.rglob("*")) if path.is_file()]
    return [
        path
        for path in inside
        if stat.S_IMODE(path.stat().st_mode) & 0o077 and not set(path.parents) & set(closed)
        if path.name in ("stack.json", "password", "valkey.conf", "pgpass", "kafka.properties")
    ]


def flink_answers(cluster: FlinkCluster) -> Iterator[tuple[str, str]]:
    """What Flink tells of its jobs, and of itself; its web pages show the same."""
    jobs = [f"/jobs/{job.id}" for job in cluster.jobs()]
    assert jobs
    for path in [*_OF_CLUSTERS, *(f"{job}{part}" for job in jobs for part in _OF_JOBS)]:
        with suppress(NotFoundError):
            yield f"Flink's answer to {path}", json.dumps(cluster.get(path))


def tables(settings: Settings) -> Iterator[tuple[str, str]]:
    """Every row of every table of the stack's databases; what Dagster has compressed is read, too."""
    for database in DATABASES:
        engine = create_engine(settings.database_url(database))
        with engine.connect() as connection:
            for table in inspect(engine).get_table_names():
                for row in connection.execute(text(f'SELECT * FROM "{table}"')):
                    yield f"{database}.{table}", " ".join(map(_read, row))
        engine.dispose()


def dagster_page(url: str) -> tuple[str, str]:
    """What Dagster's page of its configuration shows."""
    query = {"query": "{ instance { info } }"}
    request = urllib.request.Request(f"{url}/graphql", json.dumps(query).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        found = answer.read().decode()
    assert "run_monitoring" in found
    return "Dagster's page of its configuration", found


def server_pages(url: str) -> Iterator[tuple[str, str]]:
    """What the server of vectors shows."""
    for page in ("health", "metrics", "docs", "feature-groups", "feature-groups/user_orders", "features"):
        with urllib.request.urlopen(f"{url}/{page}", timeout=30) as answer:
            yield f"the server's page {page}", answer.read().decode()


def _read(value: object) -> str:
    data = bytes(value) if isinstance(value, bytes | memoryview) else None
    if data is None:
        return str(value)
    with suppress(zlib.error):
        data = zlib.decompress(data)
    return data.decode(errors="replace")
