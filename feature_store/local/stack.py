"""`up`, `down` and `reset` of the local stack, as seen from the foreground: they command the supervisor."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from feature_store import stack_file
from feature_store.errors import StackError
from feature_store.local import flink_environment, jars, java_build, processes, streaming
from feature_store.local.supervisor import EXIT_HELD_BY_ANOTHER, running_supervisor
from feature_store.object_storage import is_in_bucket
from feature_store.secret_files import without_secrets
from feature_store.settings import REPOSITORY
from feature_store.stack_file import Identity, StackRecord
from feature_store.stack_settings import StackSettings

DATA_FOLDERS = (
    "postgres",
    "valkey",
    "kafka",
    "flink",
    "warehouse",
    "raw",
    "training",
    "dagster",
    "spark",
    "logs",
    "tmp",
)
"""What `reset` deletes of a state folder: all data, but not what was installed (environments, jars, java, caches)."""

STOP_SECONDS = 60.0
LEFTOVER_SECONDS = 5.0
_POLL_SECONDS = 0.05


class Reporter(Protocol):
    """Told what happens while the user waits."""

    def note(self, text: str) -> None:
        """Something to know, in one line."""

    def download(self, name: str, done: int, total: int) -> None:
        """Bytes of a file that have arrived; may come from several threads."""

    def services(self, record: StackRecord) -> None:
        """The record of a starting or stopping stack, whenever it has changed."""


def up(settings: StackSettings, *, dagster: bool, streams: bool = False, report: Reporter) -> StackRecord:
    """Starts the stack, recovers it, or finds it running; returns when every service is ready.

    Args:
        settings: what to start.
        dagster: whether Dagster belongs to it; a stack that runs with it is good for those who do not need it, too.
        streams: whether Kafka and Flink do, likewise; without them, nothing of theirs is downloaded either.
        report: told about progress.

    Raises:
        StackError: why it does not start; nothing runs then.
    """
    with _only_command(settings.home, report):
        record = stack_file.read(settings.home)
        supervisor = running_supervisor(settings.home)
        if supervisor is not None:
            if record is not None:
                if _serves(record, settings, dagster, streams, report):
                    _fetch(_always_needed(settings), settings, report)  # the warehouse may be another one now
                    return _watch(settings.home, report)
                dagster, streams = dagster or record.dagster, streams or record.streams  # nobody loses what ran
            _stop(settings.home, supervisor, report)
        _end_leftovers(settings.home, report)
        shutil.rmtree(settings.home / "tmp", ignore_errors=True)  # sockets and scratch files of those that were killed
        (settings.home / "logs").mkdir(parents=True, exist_ok=True)
        _install(settings, streams, report)
        try:
            _launch(settings, dagster, streams)
            return _watch(settings.home, report)
        except KeyboardInterrupt:
            if supervisor := running_supervisor(settings.home):
                _stop(settings.home, supervisor, report)
            raise


def down(home: Path, report: Reporter) -> bool:
    """Stops the stack and everything it has started; its data stay. False if nothing was running."""
    if not home.is_dir():
        return False
    with _only_command(home, report):
        supervisor = running_supervisor(home)
        if supervisor is not None:
            _stop(home, supervisor, report)
        ended = _end_leftovers(home, report)
        (home / stack_file.FILE_NAME).unlink(missing_ok=True)
        return supervisor is not None or ended


def data_folders(home: Path) -> dict[Path, int]:
    """The folders that `reset` would delete, with their size in bytes."""
    present = [home / name for name in DATA_FOLDERS if (home / name).exists()]
    return {folder: sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir()) for folder in present}


def reset(home: Path, report: Reporter) -> None:
    """Stops the stack and deletes its data for good. Existing services that settings name are not touched."""
    down(home, report)
    for folder in data_folders(home):
        shutil.rmtree(folder)


@contextmanager
def _only_command(home: Path, report: Reporter) -> Iterator[None]:
    """One `up`, `down` or `reset` at a time on a state folder; a second one waits."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "command.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report.note("another ./fs command is at work on this stack; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(settings: StackSettings, streams: bool, report: Reporter) -> None:
    """Everything that has to be fetched from elsewhere, before anything starts."""
    wanted = dict.fromkeys((*_always_needed(settings), *(streaming.needed_jars(settings) if streams else ())))
    _fetch(list(wanted), settings, report)
    if streams and settings.flink_python is None:
        flink_environment.install(settings.home, report.note)


def _always_needed(settings: StackSettings) -> list[jars.Jar]:
    """The jars without which Spark does not run."""
    groups = ("spark", "java", *(("s3",) if is_in_bucket(settings.warehouse) else ()))
    lock = jars.read_lock()
    return [jar for group in groups for jar in jars.select(lock, group)]


def _fetch(wanted: Sequence[jars.Jar], settings: StackSettings, report: Reporter) -> None:
    jars.fetch(wanted, settings.jars, settings.jar_mirror, report.download)


def _serves(record: StackRecord, settings: StackSettings, dagster: bool, streams: bool, report: Reporter) -> bool:
    """Whether a running stack is what is asked for; if not, it has to be stopped first."""
    if record.state in ("degraded", "stopping", "failed"):
        report.note("a service of the running stack has failed; starting it anew")
        return False
    if dagster and not record.dagster:
        report.note("the stack runs without Dagster; starting it anew")
        return False
    if streams and not record.streams:
        report.note("the stack runs without Kafka and Flink; starting it anew")
        return False
    kernel = record.connections.kernel_jar if record.connections else ""
    if kernel and java_build.is_outdated(kernel, java_build.KERNEL):
        report.note("the running stack has older functions for Flink than there are now; starting it anew")
        return False
    if record.requested != settings.as_text():
        changed = sorted(key for key, value in settings.as_text().items() if record.requested.get(key) != value)
        report.note(
            f"the stack runs with other settings ({', '.join(changed)}); ./fs down, then ./fs up takes them over"
        )
    return True


def _launch(settings: StackSettings, dagster: bool, streams: bool) -> None:
    """Starts the supervisor, detached from this terminal; it has written its record when this returns."""
    home = settings.home
    (home / stack_file.FILE_NAME).unlink(missing_ok=True)
    command = [sys.executable, "-m", "feature_store.local.supervisor"]
    command += [*(["--dagster"] if dagster else []), *(["--streams"] if streams else [])]
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    log = home / "logs" / "supervisor.log"
    with log.open("ab") as output:
        start = output.tell()
        done = subprocess.run(
            command,
            cwd=REPOSITORY,
            env={**without_secrets(os.environ), "FS_HOME": str(home), "PYTHONPATH": path},
            input=settings.to_json(),
            stdout=output,
            stderr=output,
            check=False,
        )
    if done.returncode == EXIT_HELD_BY_ANOTHER:
        raise StackError(
            "another supervisor holds this state folder, perhaps in another container",
            where=str(home),
            remedy="stop it there, or set FS_HOME to another folder",
            code="state-folder",
        )
    if done.returncode != 0:
        words = log.read_bytes()[start:].decode("utf-8", "replace").strip().splitlines()
        raise StackError(
            f"the supervisor did not start ({words[-1] if words else 'no reason given'})",
            where=str(log),
            code="supervisor",
        )


def _watch(home: Path, report: Reporter) -> StackRecord:
    """Follows the record until the stack is ready.

    Raises:
        StackError: if it fails instead.
    """
    shown: StackRecord | None = None
    while True:
        record = stack_file.read(home)
        if record is None:
            raise StackError(
                "the stack was stopped while it started", where=str(home), remedy="run ./fs up again", code="stopped"
            )
        if record != shown:
            for notice in record.notices[len(shown.notices) if shown else 0 :]:
                report.note(notice)
            report.services(record)
            shown = record
        if record.state in ("ready", "degraded"):
            return record
        if not record.is_running():
            if record.state == "failed":
                (home / stack_file.FILE_NAME).unlink(missing_ok=True)
                raise StackError(record.error, remedy=record.remedy, code=record.code)
            raise StackError(
                "the supervisor ended unexpectedly",
                where=str(home / "logs" / "supervisor.log"),
                remedy="run ./fs up again",
                code="supervisor",
            )
        time.sleep(_POLL_SECONDS)


def _stop(home: Path, supervisor: Identity, report: Reporter) -> None:
    """Asks the supervisor to stop everything and waits until it is gone; kills it if that takes too long."""
    os.kill(supervisor.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    shown: StackRecord | None = None
    while supervisor.is_running():
        record = stack_file.read(home)
        if record is not None and record.state == "stopping" and record != shown:
            report.services(record)
            shown = record
        if time.monotonic() > deadline:
            report.note("the supervisor does not stop; ending it and its services by force")
            os.kill(supervisor.pid, signal.SIGKILL)
            deadline += STOP_SECONDS
        time.sleep(_POLL_SECONDS)


def _end_leftovers(home: Path, report: Reporter) -> bool:
    """Ends what a killed supervisor has left running. False if there was nothing."""
    remaining = processes.leftovers(home, stack_file.read(home))
    if remaining:
        report.note(f"ending {len(remaining)} processes that an earlier stack has left")
        processes.end(remaining, LEFTOVER_SECONDS)
    return bool(remaining)
