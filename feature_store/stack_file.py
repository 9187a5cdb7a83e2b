"""The record of the local stack: `<home>/stack.json`, written by its supervisor, read by everyone who connects."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

FILE_NAME = "stack.json"

ServiceState = Literal["waiting", "starting", "ready", "restarting", "failed", "stopped", "external"]
StackState = Literal["starting", "ready", "degraded", "stopping", "failed"]


@dataclass(frozen=True)
class Identity:
    """One process for all time: its id alone may belong to somebody else tomorrow."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """The identity of a running process; None if there is no such process or it is only waiting to be reaped."""
        started = _started(pid)
        return None if started is None else cls(pid, started)

    def is_running(self) -> bool:
        return _started(self.pid) == self.started


@dataclass(frozen=True)
class Connections:
    """Where clients find the services: the values of `Settings` that the stack decides; empty for what it lacks.

    `s3_jars` are what Spark needs beside `spark_jars` for a warehouse in a bucket; `up` fetches them only for one.
    """

    pg_url: str
    redis_url: str
    java_home: str
    spark_jars: tuple[str, ...]
    dagster_url: str = ""
    serving_url: str = ""
    serving_grpc: str = ""
    kafka_servers: str = ""
    flink_url: str = ""
    flink_python: str = ""
    flink_home: str = ""
    flink_state: str = ""
    flink_deploy: str = ""
    flink_kernel: str = ""
    flink_secrets: str = ""
    kernel_jar: str = ""
    local_files_jar: str = ""
    s3_jars: tuple[str, ...] = ()
    online_stores: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ServiceRecord:
    """One service as its supervisor sees it. `message` says why it is not ready, in one line."""

    name: str
    state: ServiceState
    process: Identity | None = None
    port: int | None = None
    log: str = ""
    restarts: int = 0
    message: str = ""


@dataclass(frozen=True)
class StackRecord:
    """The whole stack. `requested` are the settings it was started with; `error`, `remedy`, `code` tell why it failed.

    `dagster` and `streams` (Kafka, Flink) say whether these belong to it.
    """

    state: StackState
    supervisor: Identity
    dagster: bool
    requested: dict[str, str] = field(default_factory=dict)
    services: tuple[ServiceRecord, ...] = ()
    streams: bool = False
    connections: Connections | None = None
    notices: tuple[str, ...] = ()
    error: str = ""
    remedy: str = ""
    code: str = ""

    def is_running(self) -> bool:
        """Whether its supervisor is alive; a record whose supervisor was killed describes the past."""
        return self.supervisor.is_running()


def read(home: Path) -> StackRecord | None:
    """The record in a state folder; None if there is none or it is unreadable (the next `up` writes a new one)."""
    try:
        return msgspec.json.decode((home / FILE_NAME).read_bytes(), type=StackRecord)
    except (OSError, msgspec.DecodeError):
        return None


def write(home: Path, record: StackRecord) -> None:
    """Replaces the record, for its owner's eyes only: the connections hold passwords."""
    replace_private_file(home / FILE_NAME, msgspec.json.format(msgspec.json.encode(record)) + b"\n")


def replace_private_file(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all, readable by its owner only."""
    descriptor, half = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(half).replace(path)
    except BaseException:
        Path(half).unlink(missing_ok=True)
        raise


def _started(pid: int) -> str | None:
    """When a process started, in a form that only has to be equal to itself; None if it is not running."""
    if sys.platform == "linux":
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
            state, *fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            return None
        return None if state in "ZX" else f"{boot}/{fields[18]}"  # field 22 of the line: ticks since boot
    import psutil  # elsewhere only: Linux needs no import on the way to a connection

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return None
