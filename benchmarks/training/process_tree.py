"""What a process and those it started have used, out of /proc: for any Python, without packages."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_EVERY = 0.1
"""Seconds between two looks at the memory."""


@dataclass(frozen=True)
class Used:
    """Processor seconds, and bytes that were asked of files, whether they were in the page cache or not."""

    cpu: float
    read: int


def used() -> Used:
    """What this process and its children have used, those that ended included."""
    cpu, read = 0.0, 0
    for process in _tree(os.getpid()):
        try:
            # After the name, which is in brackets: user and system time, then those of children that ended.
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            cpu += sum(map(int, fields[11:15])) / _TICKS
            read += int(Path(f"/proc/{process}/io").read_text().split()[1])
        except OSError:  # it ended
            continue
    return Used(cpu, read)


class MemoryWatch:
    """The most memory that this process and its children have at once, beside what they had at the beginning.

    Args:
        most: more bytes than that end the process by `give_up`, so that the machine is not taken down.
    """

    def __init__(self, most: int, give_up: Callable[[], None]) -> None:
        self._before, self._peak = _resident(), 0
        self._own_before = _own_peak()
        self._most, self._give_up = most, give_up
        self._end = Event()
        self._thread = Thread(target=self._watch, daemon=True)
        self._thread.start()

    def peak(self) -> int:
        """The peak; ends the watch."""
        self._end.set()
        self._thread.join()
        return max(self._peak, _own_peak() - self._own_before)

    def _watch(self) -> None:
        while not self._end.wait(_EVERY):
            now = _resident()
            self._peak = max(self._peak, now - self._before)
            if now > self._most:
                self._give_up()


def _tree(process: int) -> Iterator[int]:
    yield process
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            found = children.read_text().split()
        except OSError:  # the thread ended
            continue
        for child in found:
            yield from _tree(int(child))


def _resident() -> int:
    total = 0
    for process in _tree(os.getpid()):
        try:
            total += int(Path(f"/proc/{process}/statm").read_text().split()[1]) * _PAGE
        except OSError:
            continue
    return total


def _own_peak() -> int:
    """The peak of this process alone, which the kernel keeps exactly."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024
