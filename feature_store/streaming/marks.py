"""A stream's progress, from marks that its job writes among the updates.

Each subtask of a job writes marks of its watermark into every partition of the topic of updates, behind the rows that
the watermark stands for (`kernel/MarkingWriter.java`). A loader that has passed a mark has loaded these rows of that
partition. An attempt (a start of the job by Flink) counts once all its subtasks are known in all partitions that they
write to: up to the least of their watermarks all rows are loaded. That stays true whatever a later attempt does, so of
several attempts the one that came furthest counts: a mark of an attempt that has ended cannot hold the progress or move
it back, and no order of attempts over restarts, redeployments and other parallelism is needed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

MILLISECOND = 1000
ATTEMPTS = 4
"""So many attempts of a job are remembered by partition, those that were heard of last. One that is alive is always
heard of; more than one are only while an earlier one is still being ended."""


@dataclass(frozen=True, order=True)
class Attempt:
    """One start of a job by Flink.

    Args:
        job: Flink's id of the job; another one each time that the job is submitted.
        number: how many times Flink has restarted it since.
        parallelism: how many subtasks it has.
    """

    job: str
    number: int
    parallelism: int


@dataclass(frozen=True)
class Mark:
    """What a subtask has said in one partition: rows of it up to the watermark stand before this.

    Args:
        attempt: of the job.
        subtask: from 0 on.
        partitions: how many partitions the subtask writes to, from 0 on.
        watermark: milliseconds.
        written: when, in milliseconds.
    """

    attempt: Attempt
    subtask: int
    partitions: int
    watermark: int
    written: int


@dataclass(frozen=True, order=True)
class Reached:
    """All rows up to `watermark` are loaded, and the job was alive at `written` (both milliseconds)."""

    watermark: int
    written: int

    def newest(self, slide: int) -> int:
        """The newest feature timestamp (microseconds) on a grid of which all rows are loaded.

        A watermark says that nothing is to come up to and including its millisecond.
        """
        return (self.watermark + 1) * MILLISECOND // slide * slide

    def complete_at(self, out_of_orderness: int) -> int:
        """The newest instant (microseconds) by which all rows that were due are loaded: those older than the disorder.

        Args:
            out_of_orderness: of the stream (microseconds), by which its watermark is behind its newest event.
        """
        return min(self.written * MILLISECOND, (self.watermark + 1) * MILLISECOND + out_of_orderness)


class PartitionMarks:
    """The newest mark of every subtask in one partition.

    Args:
        text: of an earlier one, as `text` gives it.
    """

    def __init__(self, text: bytes | str = b"[]") -> None:
        self._marks: dict[Attempt, dict[int, Mark]] = {}  # the attempt that was heard of last is at the end
        for fields in json.loads(text):
            self._add(_mark(fields))

    def take(self, key: bytes) -> None:
        """Takes the next mark of the partition, which is the key of its message."""
        self._add(_mark(json.loads(key)))

    def text(self) -> str:
        """For another loader to go on from."""
        return json.dumps([_fields(mark) for mark in self.marks()], separators=(",", ":"))

    def marks(self) -> list[Mark]:
        """All of them."""
        return [mark for found in self._marks.values() for mark in found.values()]

    def _add(self, mark: Mark) -> None:
        self._marks[mark.attempt] = {**self._marks.pop(mark.attempt, {}), mark.subtask: mark}
        if len(self._marks) > ATTEMPTS:
            del self._marks[next(iter(self._marks))]


def reached(partitions: Mapping[int, Iterable[Mark]]) -> Reached | None:
    """How far a group is loaded, as the marks of all its partitions say; None while no attempt is known completely.

    Args:
        partitions: marks by the number of their partition.
    """
    attempts: dict[Attempt, dict[int, dict[int, Mark]]] = {}
    for partition, marks in partitions.items():
        for mark in marks:
            attempts.setdefault(mark.attempt, {}).setdefault(mark.subtask, {})[partition] = mark
    found = [_least(attempt.parallelism, subtasks) for attempt, subtasks in attempts.items()]
    return max((least for least in found if least is not None), default=None)


def _least(parallelism: int, subtasks: Mapping[int, Mapping[int, Mark]]) -> Reached | None:
    """What holds for all subtasks in all partitions that they write to; None if one is missing."""
    if len(subtasks) < parallelism:
        return None
    for by_partition in subtasks.values():
        if any(number not in by_partition for mark in by_partition.values() for number in range(mark.partitions)):
            return None
    marks = [mark for by_partition in subtasks.values() for mark in by_partition.values()]
    return Reached(min(mark.watermark for mark in marks), min(mark.written for mark in marks))


def _mark(fields: list[str | int]) -> Mark:
    job, number, parallelism, *rest = fields
    return Mark(Attempt(str(job), int(number), int(parallelism)), *map(int, rest))


def _fields(mark: Mark) -> list[str | int]:
    attempt = mark.attempt
    known = [mark.subtask, mark.partitions, mark.watermark, mark.written]
    return [attempt.job, attempt.number, attempt.parallelism, *known]
