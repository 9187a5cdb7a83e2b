"""In which order, and how many at once, the rows of a part are read: newest days first, so much as may be in memory.

Files hold the rows of one day. A row of a later day is newer than all rows of earlier ones, and versions of one row
share a day: so a label that has found a row in a chunk of days needs no earlier one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from feature_store.duration import DAY
from feature_store.pit.planning import PlannedFile

_FIRST_ROWS = 20_000
_ROWS_FOR_A_LABEL = 4


@dataclass(frozen=True)
class Chunk:
    """Files that are read together.

    Attributes:
        files: in the order of the plan.
        begin, end: the feature timestamps of all their rows are in `[begin, end)` (microseconds); None: any.
        shares: into how many parts their keys are split, which are read one after the other; 1: all at once.
    """

    files: tuple[PlannedFile, ...]
    begin: int | None
    end: int | None
    shares: int


def newest_first(files: Sequence[PlannedFile], labels: int, rows_at_once: int) -> Iterator[Chunk]:
    """The files of a part in chunks of whole days, the newest first.

    The first chunk is small where there are few labels, which may all find their row in it; each following one has
    twice as many rows, up to `rows_at_once`. A day with more rows than that is split by key.
    """
    if any(file.day is None for file in files):
        yield _chunk(files, rows_at_once)
        return
    rows, wanted = 0, max(_FIRST_ROWS, _ROWS_FOR_A_LABEL * labels)
    collected: list[PlannedFile] = []
    for _, of_day in groupby(sorted(files, key=_day, reverse=True), _day):
        day = list(of_day)
        size = sum(file.rows for file in day)
        if collected and rows + size > min(wanted, rows_at_once):
            yield _chunk(collected, rows_at_once)
            rows, wanted, collected = 0, 2 * wanted, []
        rows += size
        collected += day
    if collected:
        yield _chunk(collected, rows_at_once)


def _chunk(files: Sequence[PlannedFile], rows_at_once: int) -> Chunk:
    days = [file.day for file in files if file.day is not None]
    first, end = (min(days) * DAY, (max(days) + 1) * DAY) if len(days) == len(files) else (None, None)
    rows = sum(file.rows for file in files)
    in_order = tuple(sorted(files, key=lambda file: file.data.file_path))
    return Chunk(in_order, first, end, shares=max(1, -(-rows // rows_at_once)))


def _day(file: PlannedFile) -> int:
    assert file.day is not None
    return file.day
