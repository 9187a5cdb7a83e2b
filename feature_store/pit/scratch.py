"""Scratch files of a join whose labels do not fit in memory: record batches, found again by number.

They lie in a folder that the process holds a lock on, so that the next build can tell what a killed one has left.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import pyarrow as pa

_LOCK = ".lock"


class Scratch:
    """A folder for scratch files of this process, made when the first file is and removed with them in the end.

    Whoever begins removes the folders of processes that have ended.

    Args:
        parent: where all such folders are; made if it is not there.
    """

    def __init__(self, parent: Path) -> None:
        self._parent = parent
        self._folder: Path | None = None
        self._files: list[BatchFile] = []
        self._held = ExitStack()
        self._lock = Lock()

    def __enter__(self) -> Scratch:
        if self._parent.is_dir():
            with _alone(self._parent):
                _sweep(self._parent)
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def file(self, schema: pa.Schema) -> BatchFile:
        """A new file for record batches."""
        folder = self.folder()
        with self._lock:
            file = BatchFile(folder / str(len(self._files)), schema)
            self._files.append(file)
            self._held.callback(file.close)
            return file

    def folder(self) -> Path:
        """The folder, for files of another kind."""
        with self._lock:
            if self._folder is None:
                self._folder = _locked_folder(self._parent, self._held)
            return self._folder


@contextmanager
def _alone(parent: Path) -> Iterator[None]:
    """Nobody else makes or removes a folder: one that is not locked yet would be taken for one that was left."""
    with (parent / _LOCK).open("a") as everybody:
        fcntl.flock(everybody, fcntl.LOCK_EX)
        yield


def _locked_folder(parent: Path, held: ExitStack) -> Path:
    """A new folder and, until what is held is closed, its lock."""
    parent.mkdir(parents=True, exist_ok=True)
    with _alone(parent):
        folder = Path(tempfile.mkdtemp(dir=parent, prefix="join-"))
        held.callback(shutil.rmtree, folder, ignore_errors=True)
        fcntl.flock(held.enter_context((folder / _LOCK).open("a")), fcntl.LOCK_EX)
    return folder


def _sweep(parent: Path) -> None:
    """Removes the folders whose lock nobody holds: the system lets it go when a process ends, however it does."""
    for folder in parent.glob("join-*"):
        try:
            with (folder / _LOCK).open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            continue


@dataclass(frozen=True)
class Place:
    """Where a batch is in its file, how many rows it has, and its place among those of one number."""

    order: int
    offset: int
    size: int
    rows: int


class BatchFile:
    """Record batches of one schema, each under a number that several may share. Threads may add and read at once."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.schema = schema
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._end = 0
        self._places: dict[int, list[Place]] = {}
        self._lock = Lock()

    def add(self, number: int, batch: pa.RecordBatch | pa.Table, order: int = 0) -> None:
        """Adds a batch to those of a number; `order` is its place among them, whichever is added first."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self.schema) as stream:
            stream.write(batch)
        data = sink.getvalue()
        with self._lock:
            offset, self._end = self._end, self._end + data.size
            self._places.setdefault(number, []).append(Place(order, offset, data.size, batch.num_rows))
        _write(self._file, memoryview(data), offset)

    def numbers(self) -> list[int]:
        """The numbers that batches were added under."""
        return sorted(self._places)

    def places(self, number: int) -> list[Place]:
        """The batches of a number, in order."""
        return sorted(self._places.get(number, []), key=lambda place: place.order)

    def read(self, *places: Place) -> pa.Table:
        """The rows of some batches."""
        tables = (pa.ipc.open_stream(_read(self._file, place)).read_all() for place in places)
        return pa.concat_tables([self.schema.empty_table(), *tables])

    def close(self) -> None:
        """Removes the file; nobody may be using it any more."""
        if self._file >= 0:
            os.close(self._file)
            self._path.unlink()
            self._file = -1


def _read(file: int, place: Place) -> pa.Buffer:
    data = pa.allocate_buffer(place.size)
    left, offset = memoryview(data).cast("B"), place.offset
    while len(left):
        count = os.preadv(file, [left], offset)
        if not count:
            raise OSError(f"a scratch file of a join ends before byte {place.offset + place.size}")
        left, offset = left[count:], offset + count
    return data


def _write(file: int, data: memoryview, offset: int) -> None:
    """All of it: one call writes 2 GiB at most, and less where the disk is nearly full."""
    while len(data):
        written = os.pwrite(file, data, offset)
        data, offset = data[written:], offset + written
