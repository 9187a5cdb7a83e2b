"""Processes that are ours beyond doubt: how they are marked, found again, measured and ended."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from feature_store.stack_file import Identity, StackRecord

MARK = "FS_SUPERVISED"
"""Environment variable that every service inherits and hands on; its value is the state folder."""

_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def die_with_parent(stop: signal.Signals) -> Callable[[], None]:
    """For the child between fork and exec: the kernel sends it `stop` when the calling process ends, however it ends.

    The signal follows the forking *thread*, so only a main thread may use this. Linux only; elsewhere it does nothing.
    """
    parent = os.getpid()

    def arrange() -> None:
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, int(stop))
            if os.getppid() != parent:  # it ended before we asked
                os._exit(1)

    return arrange


def leftovers(home: Path, record: StackRecord | None) -> list[psutil.Process]:
    """What still runs of a stack whose supervisor is gone: marked processes, recorded services, its Postgres.

    Postgres and Valkey overwrite their environment with a title, so the mark does not find them; the record does, and
    for Postgres also its working folder. The calling process and its ancestors are never among them.
    """
    spared = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    recorded = {service.process for service in record.services if service.process} if record else set()
    found = []
    for process in psutil.process_iter():
        if process.pid in spared:
            continue
        if Identity.of(process.pid) in recorded or _is_marked(process, home) or _is_postgres_of(process, home):
            found.append(process)
    return found


def end(processes: Iterable[psutil.Process], patience: float) -> None:
    """Asks the processes to stop, and kills those that have not after `patience` seconds. Ids are checked for reuse."""
    waiting = list(processes)
    for process in waiting:
        _signal(process, signal.SIGINT if _name(process).startswith("postgres") else signal.SIGTERM)
    _, stubborn = psutil.wait_procs(waiting, timeout=patience)
    for process in stubborn:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(stubborn, timeout=patience)


def memory(pid: int, *, descendants: bool = True) -> int | None:
    """Bytes of memory of a process and its descendants, shared pages divided fairly; None if it may not be known."""
    try:
        root = psutil.Process(pid)
        family = root.children(recursive=True) if descendants else []
        return sum(_memory(process) for process in (root, *family))
    except psutil.Error:
        return None


def _memory(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", full.uss))
    except psutil.NoSuchProcess:
        return 0


def _is_marked(process: psutil.Process, home: Path) -> bool:
    try:
        return bool(process.environ().get(MARK) == str(home))
    except (psutil.Error, OSError):
        return False


def _is_postgres_of(process: psutil.Process, home: Path) -> bool:
    try:
        return _name(process).startswith("postgres") and Path(process.cwd()).is_relative_to(home / "postgres")
    except (psutil.Error, OSError):
        return False


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return ""


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.Error):  # it ended by itself
        process.send_signal(number)
