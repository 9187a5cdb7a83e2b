"""What the supervisor is told about one service, and the running child it makes of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from feature_store.local import processes
from feature_store.local.privileges import Account
from feature_store.stack_file import Identity, ServiceRecord, ServiceState

MOST_CRASHES = 5
HEALTHY_SECONDS = 60.0
FIRST_PAUSE_SECONDS = 0.25
LARGEST_LOG_BYTES = 20 << 20
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Service:
    """One program to keep running.

    Attributes:
        name: what users call it; also the name of its log.
        command: program and arguments.
        folder: its working folder.
        port: where it listens; None if it does not.
        ready: asks it; True when it serves. May raise OSError while it does not.
        environment: variables on top of the supervisor's.
        stop_signal: what makes it stop soon and in good order.
        needs: names of the services that must be ready before it starts.
        account: as whom it runs.
        start_seconds, stop_seconds: how long it may take to become ready, and to stop before it is killed.
    """

    name: str
    command: tuple[str, ...]
    folder: Path
    port: int | None
    ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    needs: tuple[str, ...] = ()
    account: Account = field(default_factory=Account)
    start_seconds: float = 60.0
    stop_seconds: float = 15.0


class Child:
    """The process of a service, started again when it ends: pauses double, and the fifth crash in a row is the last.

    Only a main thread may drive it (`processes.die_with_parent` says why).
    """

    def __init__(self, service: Service, home: Path) -> None:
        self.service = service
        self.state: ServiceState = "waiting"
        self.message = ""
        self.restarts = 0
        self._home = home
        self._log = home / "logs" / f"{service.name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._identity: Identity | None = None
        self._log_start = 0
        self._crashes = 0
        self._since = 0.0
        self._retry_at = 0.0

    def record(self) -> ServiceRecord:
        service = self.service
        return ServiceRecord(
            service.name, self.state, self._identity, service.port, str(self._log), self.restarts, self.message
        )

    def step(self) -> None:
        """Moves on by what has happened since the last call: an exit, an answer, a timeout, the end of a pause."""
        if self.state == "restarting" and time.monotonic() >= self._retry_at:
            self.restarts += 1
            self.start()
        elif self.state in ("starting", "ready") and (code := self._exit_code()) is not None:
            self._crashed(f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}")
        elif self.state == "starting":
            if self._answers():
                self.state, self.message, self._since = "ready", "", time.monotonic()
            elif time.monotonic() - self._since > self.service.start_seconds:
                self._kill()
                self._crashed(f"did not answer within {self.service.start_seconds:.0f} s")

    def start(self) -> None:
        """Starts the process; its output goes to the end of its log."""
        service = self.service
        self._rotate_log()
        environment = {**os.environ, **service.environment, processes.MARK: str(self._home)}
        with self._log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                service.command,
                cwd=service.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=self._before_exec(),
                **service.account.ids(),
            )
        self._identity = Identity.of(self._process.pid)
        self.state, self._since = "starting", time.monotonic()

    def ask_to_stop(self) -> None:
        """Sends the stop signal, if there is a process."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(self.service.stop_signal)

    def wait_stopped(self) -> None:
        """Waits for the end of the process, and kills it if it takes too long."""
        if self._process is not None:
            try:
                self._process.wait(self.service.stop_seconds)
            except subprocess.TimeoutExpired:
                self._kill()
        self.state, self._identity = "stopped", None

    def _before_exec(self) -> Callable[[], None]:
        enter, die_with_parent = self.service.account.enter, processes.die_with_parent(self.service.stop_signal)

        def arrange() -> None:
            if enter is not None:
                enter()
            die_with_parent()  # last: the kernel forgets it when the user changes

        return arrange

    def _exit_code(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def _answers(self) -> bool:
        try:
            return self.service.ready()
        except OSError:
            return False

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _crashed(self, how: str) -> None:
        if time.monotonic() - self._since > HEALTHY_SECONDS:
            self._crashes = 0
        self._crashes += 1
        self._identity = None
        words = self._last_words()
        self.message = f"{how}: {words}" if words else how
        if self._crashes >= MOST_CRASHES:
            self.state = "failed"
        else:
            self.state = "restarting"
            self._retry_at = time.monotonic() + FIRST_PAUSE_SECONDS * 2 ** (self._crashes - 1)

    def _last_words(self) -> str:
        """The line of the last run's log that most likely tells why it ended; empty if the log is."""
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            text = _COLOUR.sub("", log.read().decode("utf-8", "replace"))
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        telling = [line for line in lines if "FATAL" in line or "rror" in line]
        return (telling or lines or [""])[-1]

    def _rotate_log(self) -> None:
        if self._log.exists() and self._log.stat().st_size > LARGEST_LOG_BYTES:
            self._log.replace(self._log.with_suffix(".log.1"))
