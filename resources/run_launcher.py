"""Where Dagster starts runs, and whether a run's process is still there.

Dagster's own launcher leaves that to the code server that started the run. When that server ends with its runs, as when
the stack is stopped or the machine is out of memory, such a run would stay STARTED for ever, and with it its slot of a
pool. This launcher looks at the process, so Dagster's run monitoring marks the run as failed, and retries it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

import psutil
from dagster import DagsterEventType, DagsterRun, EventLogEntry
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

_SLACK_SECONDS = 1.0
"""Between the clocks of a process's start and of Dagster's events."""


@dataclass(frozen=True)
class RunProcess:
    """The process that reported that it executes a run.

    Args:
        pid: its id.
        reported_at: when it reported that (Unix seconds): a process of this id that began later is another one.
    """

    pid: int
    reported_at: float

    def is_alive(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            begun: float = process.create_time()
            return begun <= self.reported_at + _SLACK_SECONDS and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


class LocalRunLauncher(DefaultRunLauncher):
    """Dagster's default launcher, with a check of the processes on this machine for run monitoring."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """FAILED if the run's process has ended; RUNNING if it lives, or runs on another machine."""
        process = run_process(self._instance.all_logs(run.run_id, of_type=DagsterEventType.ENGINE_EVENT))
        if process is None or not _is_local(run) or process.is_alive():
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, f"process {process.pid} has ended")


def run_process(events: Iterable[EventLogEntry]) -> RunProcess | None:
    """The newest process of a run, by its engine events; None if none has reported yet."""
    found = None
    for entry in events:
        data = entry.dagster_event.engine_event_data if entry.dagster_event is not None else None
        pid = data.metadata.get("pid") if data is not None else None
        if pid is not None:
            found = RunProcess(int(str(pid.value)), entry.timestamp)
    return found


def _is_local(run: DagsterRun) -> bool:
    """Whether the code server that started a run is on this machine."""
    server = json.loads(run.tags.get(GRPC_INFO_TAG, "{}"))
    return "socket" in server or server.get("host") in ("localhost", "127.0.0.1")
