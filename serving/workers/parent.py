"""The parent of several server processes: it starts them, again when one dies or hangs, and ends with them.

It forks after the modules are loaded and before anything runs: no thread, no event loop, no gRPC, no connection. So a
worker is there in a fraction of the time that loading takes, and the modules' memory is shared. It answers nothing
itself.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from multiprocessing import connection
from pathlib import Path

from feature_store.errors import FeatureStoreError
from feature_store.local.processes import die_with_parent
from serving.settings import DRAIN_SECONDS, ServingSettings
from serving.structured_log import log_as_json
from serving.workers.place import WorkerPlace
from serving.workers.ports import ReservedPort

KILL_SECONDS = DRAIN_SECONDS + 3.0
"""How long workers may take to end: what has begun is answered, and then usage is recorded."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 30.0
HEALTHY_SECONDS = 60.0
"""A worker that served for so long begins with the first pause again."""
LOOK_SECONDS = 1.0
"""How often it is looked whether workers have told that they serve."""
MOST_FAILED_STARTS = 5
"""In a row of one place, while no worker serves: then the server ends."""

Serve = Callable[[ServingSettings, WorkerPlace, Callable[[], None]], None]
"""Serves in a worker until it is told to stop; calls its last argument when it listens, and each second after that."""

_STOPS = (signal.SIGTERM, signal.SIGINT)
_fork = multiprocessing.get_context("fork")
_log = logging.getLogger(__name__)


def run_workers(settings: ServingSettings, serve: Serve) -> int:
    """Serves by several processes on the same ports until it is told to stop.

    Returns:
        The exit code: 0, or that of a worker that could not begin.

    Raises:
        StackError: if a port cannot be had.
    """
    log_as_json()
    with ExitStack() as held:
        host = settings.serving_host
        rest = ReservedPort(host, settings.serving_port, "FS_SERVING_PORT")
        held.callback(rest.close)
        grpc = ReservedPort(host, settings.serving_grpc_port, "FS_SERVING_GRPC_PORT")
        held.callback(grpc.close)
        folder = held.enter_context(tempfile.TemporaryDirectory(prefix="fs-serving-", ignore_cleanup_errors=True))
        chosen = replace(settings, serving_port=rest.port, serving_grpc_port=grpc.port)
        scheme, shown = "https" if settings.tls else "http", f"[{host}]" if ":" in host else host
        _log.info(
            "Running on %s://%s:%d, gRPC on port %d, by %d processes",
            *(scheme, shown, rest.port, grpc.port, settings.processes),
        )
        return _Parent(chosen, Path(folder), serve).run()


class _Parent:
    def __init__(self, settings: ServingSettings, folder: Path, serve: Serve) -> None:
        self._signals = _Signals()
        self._workers = [_Worker(number, settings, folder, serve) for number in range(1, settings.processes + 1)]

    def run(self) -> int:
        gc.collect()
        gc.freeze()  # what workers share with each other stays shared while they look for circles
        code, look_at = 0, 0.0
        while not self._signals.stop and not code:
            now = time.monotonic()
            for worker in self._workers:
                worker.step(now)
            if now >= look_at:
                look_at = now + LOOK_SECONDS
                for worker in self._workers:
                    worker.look()
            code = self._hopeless()
            due = min([look_at, *(worker.due for worker in self._workers if worker.due is not None)])
            if not code:
                self._wait(max(0.0, due - time.monotonic()))
        self._stop()
        return code

    def _hopeless(self) -> int:
        """The exit code of a worker that cannot begin, when that ends the server; else 0.

        While the server starts, the first failure is one too many: its cause, such as a wrong address, stays. Later it
        may pass, and the others serve.
        """
        failed = [worker for worker in self._workers if worker.failed_starts]
        has_served = all(worker.has_served for worker in self._workers)
        serving = any(worker.is_serving for worker in self._workers)
        for worker in failed:
            if not has_served or (not serving and worker.failed_starts >= MOST_FAILED_STARTS):
                _log.critical("the server ends, as worker %d cannot begin: %s", worker.number, worker.reason)
                return worker.exit_code or 1
        return 0

    def _wait(self, seconds: float) -> None:
        """Until a worker begins to serve or ends, a signal comes, or so many seconds are over."""
        watched = [each for worker in self._workers for each in worker.watched]
        connection.wait([*watched, self._signals.wake], seconds)
        self._signals.clear()

    def _stop(self) -> None:
        for worker in self._workers:
            worker.ask_to_stop()
        deadline = time.monotonic() + KILL_SECONDS
        for worker in self._workers:
            worker.wait_stopped(deadline)


class _Worker:
    """A place, and the process that has it."""

    def __init__(self, number: int, settings: ServingSettings, folder: Path, serve: Serve) -> None:
        self.number = number
        self.has_served = self.is_serving = False
        self.failed_starts = 0
        """In a row."""
        self.exit_code: int | None = None
        """Of the last process, if it has ended."""
        self.reason = ""
        """Why it ended, if it told."""
        self.due: float | None = 0.0
        """When the next process is started; None while there is one."""
        self._limit = settings.silent_seconds
        self._silent = 0
        """Looks since it told that it serves. Time would not do: it passes, too, while all of them are stopped."""
        self._work = partial(_work, number, settings, folder, os.getpid(), die_with_parent(signal.SIGTERM), serve)
        self._process: multiprocessing.process.BaseProcess | None = None
        self._told: connection.Connection | None = None
        self._since = 0.0
        self._ends = 0
        """In a row, each soon after the start."""

    @property
    def watched(self) -> list[connection.Connection | int]:
        """What becomes ready when the process begins to serve or ends."""
        if self._process is None:
            return []
        return [self._process.sentinel, *([self._told] if self._told is not None and not self.is_serving else [])]

    def step(self, now: float) -> None:
        """Moves on by what has happened since the last call."""
        if self.due is not None:
            if now >= self.due:
                self._start(now)
            return
        assert self._process is not None
        is_alive = self._process.is_alive()  # before it is listened to: what it told last is there then
        if not (is_alive and self.is_serving):
            self._listen()
        if not is_alive:
            self._ended(now)

    def look(self) -> None:
        """Kills a process that has served and hangs; is called each second."""
        if self._process is None or not self.is_serving:
            return
        self._silent = 0 if self._listen() else self._silent + 1
        if self._silent > self._limit:
            self._silent = 0
            _log.error("worker %d hangs: it has told nothing for %d s, and is killed", self.number, self._limit)
            self._process.kill()  # SIGTERM is for those that run

    def ask_to_stop(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def wait_stopped(self, deadline: float) -> None:
        """Waits for the end of the process, and kills it if it takes too long."""
        if self._process is None:
            return
        self._process.join(max(0.0, deadline - time.monotonic()))
        if self._process.is_alive():
            _log.error("worker %d does not end and is killed", self.number)
            self._process.kill()
            self._process.join()

    def _start(self, now: float) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)  # one that comes before the worker listens to it would be lost
        try:
            self._told, told = _fork.Pipe(duplex=False)
            self._process = _fork.Process(target=self._work, args=(told,), daemon=True)
            self._process.start()
        except OSError as error:  # there may be memory for it again
            self._process, self.reason = None, f"it cannot be started: {error}"
            self._again(now, self.reason)
            return
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
        told.close()
        self.due, self._since = None, now
        self.reason, self._silent = "", 0
        _log.info("worker %d is process %d", self.number, self._process.pid)

    def _listen(self) -> bool:
        """Takes in what a worker tells: nothing, when it serves, or why it cannot begin; whether it told anything."""
        has_told = False
        while self._told is not None and self._told.poll():
            try:
                reason = self._told.recv()
            except EOFError:  # it has ended, perhaps without a word
                self.reason = self.reason or "its last log lines say why"
                self._told.close()
                self._told = None
                break
            has_told = True
            self.reason = reason
            if not reason:
                self.has_served = self.is_serving = True
                self.failed_starts = 0
        return has_told

    def _ended(self, now: float) -> None:
        assert self._process is not None
        self.exit_code = code = self._process.exitcode or 0
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        if self.is_serving and now - self._since > HEALTHY_SECONDS:
            self._ends = 0
        self._again(now, f"process {self._process.pid} ended by {how}")
        self._process.close()
        self._process, self.is_serving = None, False

    def _again(self, now: float, why: str) -> None:
        """Says when the next process is started."""
        self.failed_starts += not self.is_serving
        self._ends += 1
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** (self._ends - 1))
        _log.error("worker %d: %s; the next process begins in %.1f s", self.number, why, pause)
        self.due = now + pause


def _work(
    number: int,
    settings: ServingSettings,
    folder: Path,
    parent: int,
    end_with_parent: Callable[[], None],
    serve: Serve,
    told: connection.Connection,
) -> None:
    """What a worker does, from the fork to its end."""
    signal.set_wakeup_fd(-1)
    for stop in _STOPS:
        signal.signal(stop, lambda *_: sys.exit(0))  # before the server has its own handlers, and after
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
    end_with_parent()
    log_as_json(number)
    place = WorkerPlace(number, settings.processes, folder, parent)
    os.set_blocking(told.fileno(), False)
    try:
        serve(settings, place, lambda: _tell(told, ""))
    except FeatureStoreError as error:
        _tell(told, str(error))
        sys.exit(1)
    finally:
        place.leave()


def _tell(told: connection.Connection, reason: str) -> None:
    with suppress(OSError):  # the parent is stopped, and what was told before fills the pipe; or it is gone
        told.send(reason)


class _Signals:
    """Wakes the parent when it is asked to stop; `stop` says that it was."""

    def __init__(self) -> None:
        self.stop = False
        self.wake, bell = socket.socketpair()
        self.wake.setblocking(False)
        bell.setblocking(False)
        self._bell = bell
        for stop in _STOPS:
            signal.signal(stop, self._on_stop)
        signal.set_wakeup_fd(bell.fileno(), warn_on_full_buffer=False)

    def clear(self) -> None:
        with suppress(BlockingIOError):
            while self.wake.recv(64):
                pass

    def _on_stop(self, *_: object) -> None:
        self.stop = True
