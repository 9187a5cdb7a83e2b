"""How far a group is loaded, from marks: against plain loops over everything that was written and loaded."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.duration import SECOND
from feature_store.streaming.marks import ATTEMPTS, MILLISECOND, Attempt, Mark, PartitionMarks, Reached, reached

MOST_PARTITIONS = 3
USERS = 5


def key(mark: Mark) -> bytes:
    """As the job writes it."""
    attempt = mark.attempt
    fields = [attempt.job, attempt.number, attempt.parallelism, mark.subtask]
    return json.dumps([*fields, mark.partitions, mark.watermark, mark.written]).encode()


def known(*partitions: Sequence[Mark]) -> Reached | None:
    """What follows from the marks of some partitions, in the order in which they were written."""
    found = {}
    for number, marks in enumerate(partitions):
        kept = found[number] = PartitionMarks()
        for mark in marks:
            kept.take(key(mark))
    return reached({number: kept.marks() for number, kept in found.items()})


def mark(watermark: int, attempt: int = 0, subtask: int = 0, of: int = 1, job: str = "a", partitions: int = 1) -> Mark:
    return Mark(Attempt(job, attempt, of), subtask, partitions, watermark, watermark + 5)


def test_nothing_is_known_before_the_first_mark() -> None:
    assert reached({}) is None
    assert known([]) is None


def test_it_is_the_least_of_all_subtasks_and_partitions() -> None:
    first = [mark(50, subtask=0, of=2, partitions=2), mark(70, subtask=1, of=2, partitions=2)]
    second = [mark(60, subtask=0, of=2, partitions=2), mark(40, subtask=1, of=2, partitions=2)]
    assert known(first, second) == Reached(40, 45)
    assert known(first, []) is None, "the loader of the second partition has not come to it"
    assert known(first[:1], second[:1]) is None, "a subtask is missing"


def test_a_new_attempt_counts_when_it_is_complete() -> None:
    old = [mark(50, subtask=0, of=2), mark(50, subtask=1, of=2)]
    assert known([*old, mark(90, attempt=1, subtask=0, of=2)]) == Reached(50, 55)
    assert known([*old, mark(90, 1, 0, of=2), mark(80, 1, 1, of=2)]) == Reached(80, 85)


@pytest.mark.parametrize(
    "newer",
    [
        [mark(80, attempt=1, subtask=0, of=2), mark(80, attempt=1, subtask=1, of=2)],
        [mark(80, job="b", subtask=0, of=2), mark(80, job="b", subtask=1, of=2)],
        [mark(80, job="b")],
        [mark(80, job="b", subtask=i, of=3) for i in range(3)],
    ],
    ids=["restarted", "submitted again", "fewer subtasks", "more subtasks"],
)
def test_an_old_attempt_neither_holds_nor_moves_back(newer: list[Mark]) -> None:
    old = [mark(50, attempt=3, subtask=0, of=2), mark(50, attempt=3, subtask=1, of=2)]
    late = [mark(51, attempt=3, subtask=0, of=2)]
    assert known(old + newer) == Reached(80, 85)
    assert known(old + newer + late) == Reached(80, 85)
    assert known(old[:1] + newer + late) == Reached(80, 85), "also one that was never complete"


def test_a_new_partition_counts_once_the_job_writes_to_it() -> None:
    assert known([mark(50)], []) == Reached(50, 55)
    grown = mark(90, job="b", partitions=2)
    assert known([mark(50), grown], []) == Reached(50, 55)
    assert known([mark(50), grown], [grown]) == Reached(90, 95)


def test_a_job_that_fails_again_and_again_is_not_remembered_for_ever() -> None:
    marks = PartitionMarks()
    for number in range(50):
        marks.take(key(mark(number, attempt=number, subtask=0, of=2)))
        marks.take(key(mark(7, job="alive")))
    assert len(marks.marks()) == ATTEMPTS
    assert reached({0: marks.marks()}) == Reached(7, 12), "the one that is heard of stays"


def test_what_one_loader_has_kept_another_goes_on_from() -> None:
    marks = PartitionMarks()
    for subtask in (1, 0):
        marks.take(key(mark(50 + subtask, subtask=subtask, of=2)))
    again = PartitionMarks(marks.text())
    assert again.marks() == marks.marks()
    again.take(key(mark(60, subtask=0, of=2)))
    assert reached({0: again.marks()}) == Reached(51, 56)


@pytest.mark.parametrize(("watermark", "newest"), [(998, 0), (999, 1), (1000, 1), (1998, 1), (1999, 2)])
def test_the_watermark_is_said_of_whole_steps(watermark: int, newest: int) -> None:
    """Rows of 1 s are written when the watermark reaches 999 ms: nothing is to come up to the end of it."""
    assert Reached(watermark, 0).newest(SECOND) == newest * SECOND


@pytest.mark.parametrize(
    ("watermark", "written", "complete"), [(999, 9000, 1500), (999, 1400, 1400), (2999, 3000, 3000)]
)
def test_a_stream_is_complete_up_to_where_its_disorder_ends(watermark: int, written: int, complete: int) -> None:
    """And never beyond the clock, however far ahead events are dated."""
    assert Reached(watermark, written).complete_at(500 * MILLISECOND) == complete * MILLISECOND


@dataclass
class Job:
    """One attempt of a job. Its subtasks write the rows of their users, step after step, and marks behind them.

    `after` is the step that it was restored at: the rows up to it were written before.
    """

    attempt: Attempt
    partitions: int
    after: int
    done: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.done = [self.after] * self.attempt.parallelism


@dataclass
class Partition:
    """What was written to it (rows as user and step, and marks), and the place and the marks that Redis has of it."""

    messages: list[tuple[int, int] | Mark] = field(default_factory=list)
    place: int = 0
    marks: str = PartitionMarks().text()


@dataclass
class World:
    """Attempts of a job, one topic of updates, and loaders of its partitions."""

    pick: random.Random
    topic: list[Partition]
    jobs: list[Job]
    told: int = 0

    def step(self, job: Job, dies: bool = False) -> None:
        """A subtask comes a step further; if its machine dies, some partitions have only the first of its messages."""
        subtask = self.pick.randrange(job.attempt.parallelism)
        step = job.done[subtask] = job.done[subtask] + 1
        marked = self.pick.random() < 0.8
        for number in range(job.partitions):
            users = [user for user in range(USERS) if user % job.partitions == number]
            messages: list[tuple[int, int] | Mark] = [
                (user, step) for user in users if user // 2 % job.attempt.parallelism == subtask
            ]
            messages += [Mark(job.attempt, subtask, job.partitions, step, step)] if marked else []
            self.topic[number].messages += messages[: self.pick.randint(0, len(messages))] if dies else messages

    def replace_job(self, name: str) -> None:
        """The job goes on from a checkpoint as another attempt; the one before is dead, or out of reach and goes on."""
        old = self.jobs[-1]
        checkpoint = self.pick.randint(old.after, min(old.done))
        if self.pick.random() < 0.7:
            self.step(old, dies=True)
            self.jobs.clear()
        if len(self.topic) < MOST_PARTITIONS and self.pick.random() < 0.3:
            self.topic.append(Partition())
        restarted = Attempt(old.attempt.job, old.attempt.number + 1, old.attempt.parallelism)
        again = Attempt(name, 0, self.pick.randint(1, 3))
        self.jobs.append(Job(self.pick.choice([restarted, again]), len(self.topic), checkpoint))

    def load(self, partition: Partition, all_of_it: bool = False) -> None:
        """A loader takes the next messages; unless it is killed, Redis then has their rows, and how far it is."""
        until = len(partition.messages) if all_of_it else self.pick.randint(partition.place, len(partition.messages))
        marks = PartitionMarks(partition.marks)
        for message in partition.messages[partition.place : until]:
            if isinstance(message, Mark):
                marks.take(key(message))
        if all_of_it or self.pick.random() < 0.9:
            partition.place, partition.marks = until, marks.text()

    def tell(self) -> None:
        """What any loader publishes; Redis keeps the furthest."""
        found = reached({number: PartitionMarks(part.marks).marks() for number, part in enumerate(self.topic)})
        self.told = max(self.told, found.watermark if found is not None else 0)

    def truly(self) -> int:
        """The last step up to which every row of every user is loaded."""
        rows = {row for partition in self.topic for row in partition.messages[: partition.place]}
        step = 0
        while all((user, step + 1) in rows for user in range(USERS)):
            step += 1
        return step


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(10, 80))
def test_no_row_is_missing_up_to_what_was_told(seed: int, steps: int) -> None:
    """Attempts go on from checkpoints with other parallelisms and more partitions; some write though replaced."""
    pick = random.Random(seed)
    world = World(pick, [Partition(), Partition()], [Job(Attempt("first", 0, pick.randint(1, 3)), 2, 0)])
    for number in range(steps):
        action = pick.random()
        if action < 0.5:
            world.step(world.jobs[-1])
        elif action < 0.6:
            world.step(pick.choice(world.jobs))
        elif action < 0.67:
            world.replace_job(f"start {number}")
        else:
            world.load(pick.choice(world.topic))
        before = world.told
        world.tell()
        assert before <= world.told <= world.truly()
    last = world.jobs[-1]
    while min(last.done) < steps + 1 or world.told < min(last.done) - 2:  # quiet: it reaches what was written
        world.step(last)
        for partition in world.topic:
            world.load(partition, all_of_it=True)
        world.tell()
        assert world.told <= world.truly()
        assert min(last.done) < 50 * steps, "what was told stays behind"
