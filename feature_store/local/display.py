"""What the user sees of the local stack: progress while it starts, and the table of its services."""

from __future__ import annotations

import threading
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from feature_store.local import processes
from feature_store.stack_file import ServiceRecord, StackRecord

_COLOURS = {"ready": "green", "external": "green", "failed": "red", "restarting": "red", "stopped": "dim"}
_ARRIVALS = ("ready", "external", "failed")
_ENDINGS = ("stopped",)


class Display:
    """Shows the progress of `up`, `down` and `reset`: moving on a terminal, one line per event in a log.

    A context manager: what moves is taken off the screen at the end, what was worth a line stays.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._downloads = Progress(
            TextColumn("  {task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=console
        )
        self._tasks: dict[str, TaskID] = {}
        self._live = Live(console=console, transient=True, refresh_per_second=8)
        self._states: dict[str, str] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Display:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def note(self, text: str) -> None:
        self._line(text)

    def download(self, name: str, done: int, total: int) -> None:
        with self._lock:
            if name not in self._tasks:
                self._tasks[name] = self._downloads.add_task(name, total=total)
                self._line(f"fetching {name} ({total / 1e6:.1f} MB)")
            self._downloads.update(self._tasks[name], completed=done)
        self._show(self._downloads)

    def services(self, record: StackRecord) -> None:
        for service in record.services:
            if self._states.get(service.name) != service.state:
                self._states[service.name] = service.state
                if service.state in (_ENDINGS if record.state == "stopping" else _ARRIVALS):
                    self._line(_describe(service))
        waiting = [
            service.name for service in record.services if service.state in ("waiting", "starting", "restarting")
        ]
        text = f"{record.state}: {', '.join(waiting)}" if waiting else f"{record.state} ..."
        self._show(Spinner("dots", Text(text)))

    def _line(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _show(self, what: Progress | Spinner) -> None:
        if self._console.is_terminal:
            self._live.update(what)


def status_table(record: StackRecord) -> Table:
    """The services of a stack: state, process, port, memory with all descendants, log or why it is not ready."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("service", "state", "pid", "port", "memory", "restarts", "log"):
        is_number = column in ("pid", "port", "memory", "restarts")
        table.add_column(column, justify="right" if is_number else "left", no_wrap=column != "log")
    for service in record.services:
        table.add_row(
            service.name,
            Text(service.state, style=_COLOURS.get(service.state, "yellow")),
            str(service.process.pid) if service.process else "",
            str(service.port or ""),
            _megabytes(processes.memory(service.process.pid) if service.process else None),
            str(service.restarts or ""),
            service.message or f"logs/{service.name}.log",
        )
    own = processes.memory(record.supervisor.pid, descendants=False)
    table.add_row("supervisor", Text("ready", style="green"), str(record.supervisor.pid), "", _megabytes(own), "", "")
    return table


def _describe(service: ServiceRecord) -> str:
    port = f" on port {service.port}" if service.port and service.state == "ready" else ""
    why = f" ({service.message})" if service.message else ""
    return f"{service.name}: {service.state}{port}{why}"


def _megabytes(size: int | None) -> str:
    return "" if size is None else f"{size / 2**20:.0f} MiB"
