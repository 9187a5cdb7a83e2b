"""The place of one worker among those of a server: its number, and what the others have counted.

The counts of each place lie in a file of a private folder, which the worker there writes each second, before it shows
them to anybody, and when it ends; a worker that takes the place of one that died goes on from its file. So what is
shown never decreases, and a worker that is killed takes the counts of its last second at most with it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from contextlib import suppress
from pathlib import Path

import msgspec

from serving.families import Family, of_the_past, text_of, together
from serving.metrics import ServingMetrics

WRITE_SECONDS = 1.0
_ALIVE = Family("feature_store_workers", "Processes of the server that are up", "total", (), {(): 1.0})


class _Kept(msgspec.Struct, frozen=True):
    """What lies in the file of a place: who wrote it, its counts, and those of the workers that were there before."""

    pid: int
    own: tuple[Family, ...]
    before: tuple[Family, ...]


class WorkerPlace:
    """One of the places of a server; made in the worker itself.

    Args:
        number: from 1.
        count: of all places.
        folder: the files of all.
        parent: the process whose end ends the server.
    """

    def __init__(self, number: int, count: int, folder: Path, parent: int) -> None:
        self.number = number
        self.count = count
        self._folder = folder
        self._parent = parent
        kept = self._read(number)
        self._before = () if kept is None else together([kept.before, of_the_past(kept.own)])
        self._lock = threading.Lock()

    def health(self) -> dict[str, int]:
        """Which worker this is, by number and process, and how many of how many are up."""
        up = 1 + sum(_is_alive(kept.pid) for kept in self._others())
        return {"number": self.number, "pid": os.getpid(), "up": up, "of": self.count}

    async def run(self, metrics: ServingMetrics) -> None:
        """Keeps the counts, again and again, until it is cancelled, and then once more."""
        try:
            while True:
                self._keep(metrics)
                await asyncio.sleep(WRITE_SECONDS)
        finally:
            self._keep(metrics)

    def text(self, metrics: ServingMetrics) -> bytes:
        """The counts of the whole server, as Prometheus reads them."""
        kept = msgspec.msgpack.decode(self._keep(metrics), type=_Kept)  # not what has been counted since
        parts = [kept.own, kept.before]
        for kept in self._others():
            parts += [kept.own if _is_alive(kept.pid) else of_the_past(kept.own), kept.before]
        return text_of(together(parts))

    def leave(self) -> None:
        """Removes the folder if the parent was killed and could not."""
        if os.getppid() != self._parent:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _keep(self, metrics: ServingMetrics) -> bytes:
        """Writes the counts of the moment into the file, and gives back what it wrote."""
        with self._lock:  # two that write at once could leave the older counts behind
            written = msgspec.msgpack.encode(_Kept(os.getpid(), (*metrics.families(), _ALIVE), self._before))
            half = self._file(self.number).with_suffix(".half")
            with suppress(OSError):  # the folder is gone with the parent
                half.write_bytes(written)
                half.replace(self._file(self.number))
            return written

    def _others(self) -> list[_Kept]:
        """What the other places have counted, if a worker has been there yet."""
        numbers = (number for number in range(1, self.count + 1) if number != self.number)
        return [kept for number in numbers if (kept := self._read(number)) is not None]

    def _read(self, number: int) -> _Kept | None:
        try:
            return msgspec.msgpack.decode(self._file(number).read_bytes(), type=_Kept)
        except FileNotFoundError:
            return None

    def _file(self, number: int) -> Path:
        return self._folder / str(number)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
