"""The one process behind a running stack: starts the services, again when they end, and stops them in good order.

`./fs up` runs it detached; it lives until SIGTERM. There is one per state folder (a lock tells), it alone writes the
record, and on Linux its services end with it even when it is killed.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from feature_store import stack_file
from feature_store.errors import FeatureStoreError, StackError
from feature_store.local import processes
from feature_store.local.assembly import Assembly, assemble
from feature_store.local.service import Child
from feature_store.stack_file import Identity, ServiceRecord, StackRecord
from feature_store.stack_settings import StackSettings

LOCK_FILE = "supervisor.lock"
TICK_SECONDS = 0.1
IDLE_SECONDS = 2.0
LEFTOVER_SECONDS = 5.0
EXIT_HELD_BY_ANOTHER = 3


class Supervisor:
    """Drives the children of one assembly until it is told to stop. All of it happens in the main thread."""

    def __init__(self, settings: StackSettings, *, dagster: bool, streams: bool) -> None:
        self._home = settings.home
        self._settings = settings
        self._children: list[Child] = []
        self._external: tuple[ServiceRecord, ...] = ()
        self._alarm = _Alarm()
        self._record = StackRecord(
            state="starting",
            supervisor=_myself(),
            dagster=dagster,
            streams=streams,
            requested=settings.as_text(),
        )
        self._publish()

    def run(self) -> None:
        """Starts everything or nothing: if one service does not come up, the others are stopped; the record tells."""
        failure: FeatureStoreError | None = None
        try:
            self._begin(assemble(self._settings, dagster=self._record.dagster, streams=self._record.streams))
            while not self._alarm.stop:
                self._step()
                self._alarm.wait(IDLE_SECONDS if self._is_settled() else TICK_SECONDS)
        except FeatureStoreError as error:
            failure = error
        except OSError as error:  # a full disk, a folder that is not ours
            failure = StackError(
                str(error),
                where=str(self._home),
                remedy="make room or correct the permissions there",
                code="state-folder",
            )
        self._stop(failure)

    def _begin(self, assembly: Assembly) -> None:
        self._children = [Child(service, self._home) for service in assembly.services]
        self._external = assembly.external
        self._record = replace(self._record, connections=assembly.connections, notices=assembly.notices)
        self._publish()

    def _step(self) -> None:
        before = [child.record() for child in self._children]
        ready = {child.service.name for child in self._children if child.state == "ready"}
        for child in self._children:
            if child.state == "waiting" and ready.issuperset(child.service.needs):
                child.start()
            else:
                child.step()
        if self._record.state == "starting":
            self._refuse_early_crash()
        after = [child.record() for child in self._children]
        if before != after or self._record.state == "starting":
            self._update_state()
            for old, new in zip(before, after, strict=True):
                if old.state != new.state:
                    _log(
                        f"{new.name}: {new.state}"
                        + (f" ({new.message})" if new.state in ("restarting", "failed") else "")
                    )
            self._publish()

    def _refuse_early_crash(self) -> None:
        for child in self._children:
            if child.state in ("restarting", "failed"):
                raise StackError(
                    f"{child.service.name} {child.message}",
                    remedy=f"./fs logs {child.service.name} shows more; then run ./fs up again",
                    code="service-failed",
                )

    def _update_state(self) -> None:
        states = {child.state for child in self._children}
        if "failed" in states:
            self._record = replace(self._record, state="degraded")
        elif states <= {"ready"}:
            self._record = replace(self._record, state="ready")

    def _is_settled(self) -> bool:
        return all(child.state in ("ready", "failed") for child in self._children)

    def _stop(self, failure: FeatureStoreError | None) -> None:
        """Stops the services, each after those that need it; then whatever they have left running."""
        self._record = replace(self._record, state="stopping")
        self._publish()
        remaining = list(self._children)
        while remaining:
            needed = {name for child in remaining for name in child.service.needs}
            last = [child for child in remaining if child.service.name not in needed]
            for child in last:
                child.ask_to_stop()
            for child in last:
                child.wait_stopped()
                remaining.remove(child)
            self._publish()
        processes.end(processes.leftovers(self._home, None), LEFTOVER_SECONDS)
        if failure is not None:
            _log(f"failed: {failure}")
            where = f"{failure.where}: " if failure.where else ""
            error = f"{where}{failure.message}"
            self._record = replace(self._record, state="failed", error=error, remedy=failure.remedy, code=failure.code)
            self._publish()
        else:
            _log("stopped")
            (self._home / stack_file.FILE_NAME).unlink(missing_ok=True)

    def _publish(self) -> None:
        services = (*(child.record() for child in self._children), *self._external)
        self._record = replace(self._record, services=services)
        stack_file.write(self._home, self._record)


class _Alarm:
    """Wakes the supervisor when a child ends or it is asked to stop; `stop` says that it was asked."""

    def __init__(self) -> None:
        self.stop = False
        self._wake, bell = socket.socketpair()
        self._wake.setblocking(False)
        bell.setblocking(False)
        self._bell = bell
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(bell.fileno(), warn_on_full_buffer=False)

    def wait(self, seconds: float) -> None:
        select.select([self._wake], [], [], seconds)
        with suppress(BlockingIOError):
            while self._wake.recv(64):
                pass

    def _on_stop(self, *_: object) -> None:
        self.stop = True


def running_supervisor(home: Path) -> Identity | None:
    """The supervisor of a state folder, if one is alive, even if the record is lost."""
    try:
        pid, started = (home / LOCK_FILE).read_text(encoding="ascii").split()
        identity = Identity(int(pid), started)
    except (OSError, ValueError):
        return None
    return identity if identity.is_running() else None


def main(arguments: list[str]) -> int:
    """Becomes the supervisor in the background, of the stack whose settings come on standard input.

    The process that was started returns as soon as the record exists; its child stays.
    """
    settings = StackSettings.from_json(sys.stdin.buffer.read())
    lock = (settings.home / LOCK_FILE).open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return EXIT_HELD_BY_ANOTHER
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        return 0 if os.read(reader, 1) else 1
    os.close(reader)
    os.setsid()
    _sign(lock)
    supervisor = Supervisor(settings, dagster="--dagster" in arguments, streams="--streams" in arguments)
    os.write(writer, b".")
    os.close(writer)
    supervisor.run()
    return 0


def _sign(lock: BinaryIO) -> None:
    """Writes who holds the lock into it."""
    identity = _myself()
    lock.truncate(0)
    lock.write(f"{identity.pid} {identity.started}\n".encode())
    lock.flush()


def _myself() -> Identity:
    identity = Identity.of(os.getpid())
    assert identity is not None, "this very process is running"
    return identity


def _log(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
