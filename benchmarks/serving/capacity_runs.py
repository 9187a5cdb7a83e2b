"""What the capacity model is fitted to and checked against: a server and Valkeys, asked for groups of many widths.

Fitted to one process and one Valkey: 1, 20 and 100 rows of 10, 50, 500 features, and the memory of 200,000 rows each.
Checked with another width and other numbers of rows, against two processes and three Valkeys that share the rows.
"""

from __future__ import annotations

import os
import random
import tempfile
from binascii import crc_hqx
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from redis import Redis

from benchmarks.online_write import valkey
from benchmarks.serving.capacity import Figures, Formula, Point, redis_cpu, server_cpu
from benchmarks.serving.ours import our_server
from benchmarks.serving.server_process import ServerProcess
from benchmarks.serving.shop import SEED, USER, group_of, user
from benchmarks.serving.wrk import Request, Wrk
from feature_store import FLOAT, INT, STRING, FeatureGroup
from feature_store.dsl.collect import Project
from feature_store.dtypes import DType, to_micros
from feature_store.duration import DAY
from feature_store.online.keys import entity_key
from feature_store.online.writer import GuardedWriter
from feature_store.plan.build import build_plan
from feature_store.plan.project import compile_project
from feature_store.registry.desired import desired_state
from feature_store.registry.snapshot import RegistrySnapshot

ENTITIES = 200_000
FITTED, CHECKED = (10, 50, 500), 100
"""Features of the groups."""
FITTED_ROWS, CHECKED_ROWS = (1, 20, 100), (1, 10)
PROCESSES, SHARDS = 2, 3
CONNECTIONS, SECONDS, ROUNDS = 4, 1.0, 8
"""Connections of each process: about as many requests are under way in one that is half busy. More of them would share
system calls, of the server and of Redis, that no two requests share there.
"""
HEAD_BYTES = 230
"""Of an answer over HTTP, beside its body."""
SHARD_CPU = 6.1
"""Of a server for each further shard: of a read of a Redis Cluster with 32 under way (microseconds)."""
_TYPES: tuple[DType, ...] = (FLOAT, FLOAT, FLOAT, FLOAT, INT, INT, INT, STRING, STRING, STRING)
_BATCH = 5_000


AMOUNTS = ("server_cpu", "redis_cpu", "answer", "stored")


@dataclass(frozen=True)
class Counted:
    """Of each request: microseconds of the server and of all Redis nodes, bytes of the answer and from Redis."""

    server_cpu: float
    redis_cpu: float
    answer: float
    stored: float


class Part(NamedTuple):
    """A server that runs, the entities it is asked for, and the nodes that have them."""

    server: ServerProcess
    users: Sequence[str]
    nodes: Sequence[Redis]


@dataclass(frozen=True)
class Deployment:
    """Servers of several processes and their online store.

    Attributes:
        parts: one for a cluster, or one for each Redis that has rows of its own.
        processes: of each server.
        shards: that one request may ask.
        copies: of each row: the primary's and those of replicas.
    """

    parts: Sequence[Part]
    processes: int
    shards: int = 1
    copies: int = 1


class Deviation(NamedTuple):
    """What was predicted of something, and measured."""

    name: str
    predicted: float
    measured: float

    @property
    def share(self) -> float:
        return self.predicted / self.measured - 1


@dataclass
class Question:
    """Requests for so many rows of a group, each time of other users; what they took, round by round."""

    part: Part
    group: FeatureGroup
    rows: int
    connections: int
    rounds: list[Counted] = field(default_factory=list)

    @cached_property
    def requests(self) -> list[Request]:
        chance, number = random.Random(SEED + self.rows), max(32, 4_096 // self.rows)
        path = f"/feature-groups/{self.group.name}@1/online?entity_ids="
        return [Request(path + ",".join(chance.sample(self.part.users, self.rows))) for _ in range(number)]

    @cached_property
    def answer(self) -> float:
        """Bytes of an answer."""
        some = self.requests[:32]
        return sum(len(self.part.server.ask(request)) for request in some) / len(some) + HEAD_BYTES

    @property
    def least(self) -> Counted:
        """Of all rounds, as the others were disturbed."""
        return Counted(*(min(getattr(each, name) for each in self.rounds) for name in AMOUNTS))

    def ask(self, wrk: Wrk) -> None:
        """One round."""
        before = [totals(node) for node in self.part.nodes]
        counts, cpu = self.part.server.count(wrk, self.requests, self.connections, SECONDS)
        each = np.array([totals(node) for node in self.part.nodes]) - np.array(before)
        cpu_of_redis, sent = each.sum(axis=0) / counts.requests
        self.rounds.append(Counted(cpu / counts.requests * 1e6, float(cpu_of_redis) * 1e6, self.answer, float(sent)))


def measure() -> Figures:
    """Measures the figures, prints how well they fit, and checks them; all requests in turn, so that all are disturbed
    alike.
    """
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {1})
    try:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            wrk = Wrk(folder)
            one, memory = stack.enter_context(one_redis(folder / "one"))
            groups = [wide(features) for features in FITTED]
            asked = [Question(one, group, rows, CONNECTIONS) for group in groups for rows in FITTED_ROWS]
            deployment = stack.enter_context(three_shards(folder / "three"))
            checked = questions(deployment)
            take_turns([*asked, *checked], wrk)
            figures = fitted(asked, memory, psutil.Process(one.server.process.pid).memory_info().rss)
            show(deviations(deployment, checked, figures))
            return figures
    finally:
        os.sched_setaffinity(0, allowed)


def check(deployment: Deployment, figures: Figures, wrk: Wrk) -> list[Deviation]:
    """What the model predicts of a deployment, beside what it takes.

    Its nodes have to hold the users of its parts in the group `wide(CHECKED)`, and nothing else.
    """
    asked = questions(deployment)
    take_turns(asked, wrk)
    return deviations(deployment, asked, figures)


def questions(deployment: Deployment) -> list[Question]:
    """What a deployment is asked."""
    group, connections = wide(CHECKED), CONNECTIONS * deployment.processes
    return [Question(part, group, rows, connections) for part in deployment.parts for rows in CHECKED_ROWS]


def take_turns(asked: Sequence[Question], wrk: Wrk) -> None:
    """Asks all of them, again and again."""
    for _ in range(ROUNDS):
        for question in asked:
            question.ask(wrk)


def fitted(asked: Sequence[Question], memory: Sequence[Point], process: float) -> Figures:
    """The figures of one server process and one Redis."""
    formulas = {}
    for name in AMOUNTS:
        points = [Point(each.rows, len(each.group.features), getattr(each.least, name)) for each in asked]
        formulas[name] = formula = Formula.fit(points)
        print(name, *(f"{rows} x {features}: {measured:,.1f}" for rows, features, measured in points), sep="   ")
        print(f"  {formula}, off by {formula.worst(points):.0%} at most")
    of_memory = Formula.fit(memory)
    key, value = of_memory.request + of_memory.row, of_memory.feature + of_memory.value
    print(f"memory: {key:.0f} + {value:.2f} for each feature, off by {of_memory.worst(memory):.0%} at most")
    return Figures(**formulas, key=key, value=value, shard_cpu=SHARD_CPU, process=process)


def deviations(deployment: Deployment, asked: Sequence[Question], figures: Figures) -> list[Deviation]:
    """What is predicted of each amount, and its mean over all parts."""
    entities = sum(len(part.users) for part in deployment.parts) * deployment.copies
    kept = sum(memory_of(node) for part in deployment.parts for node in part.nodes) / entities
    found = [Deviation("memory of a row", figures.key + CHECKED * figures.value, kept)]
    for rows in CHECKED_ROWS:
        predicted = Counted(
            server_cpu(figures, rows, rows, CHECKED, deployment.shards),
            redis_cpu(figures, rows, rows, CHECKED, deployment.shards),
            figures.answer.of(rows, CHECKED),
            figures.stored.of(rows, CHECKED),
        )
        for name in AMOUNTS:
            measured = [getattr(each.least, name) for each in asked if each.rows == rows]
            mean = sum(measured) / len(measured)
            found.append(Deviation(f"{name}, {rows} x {CHECKED}", getattr(predicted, name), mean))
    return found


@contextmanager
def one_redis(folder: Path) -> Iterator[tuple[Part, list[Point]]]:
    """A Valkey with all groups, what a row of each takes of its memory, and a server of one process."""
    folder.mkdir()
    groups, users, memory = [wide(features) for features in FITTED], [user(number) for number in range(ENTITIES)], []
    with valkey(folder) as redis:
        for group in groups:
            before = memory_of(redis)
            fill(redis, group, users)
            memory.append(Point(1, len(group.features), (memory_of(redis) - before) / ENTITIES))
        with our_server(folder / "ours", url_of(redis), definitions=snapshot_of(groups)) as server:
            yield Part(server, users, [redis]), memory


@contextmanager
def three_shards(folder: Path) -> Iterator[Deployment]:
    """Three Valkeys with the entities of a third of the slots each, and for each of them a server of two processes."""
    folder.mkdir()
    group = wide(CHECKED)
    with ExitStack() as stack:
        nodes = [stack.enter_context(valkey(folder)) for _ in range(SHARDS)]
        parts: list[list[str]] = [[] for _ in nodes]
        for number in range(ENTITIES):
            parts[crc_hqx(user(number).encode(), 0) % 16_384 * SHARDS // 16_384].append(user(number))
        made = []
        for place, (redis, users) in enumerate(zip(nodes, parts, strict=True)):
            fill(redis, group, users)
            ours = our_server(
                folder / f"ours{place}", url_of(redis), definitions=snapshot_of([group]), processes=PROCESSES
            )
            made.append(Part(stack.enter_context(ours), users, [redis]))
        yield Deployment(made, PROCESSES)


def totals(node: Redis) -> tuple[float, float]:
    """Seconds of CPU, and bytes sent, since the node began."""
    cpu, stats = info(node, "cpu"), info(node, "stats")
    return cpu["used_cpu_user"] + cpu["used_cpu_sys"], stats["total_net_output_bytes"]


def memory_of(node: Redis) -> float:
    """Bytes of its data."""
    memory = info(node, "memory")
    return memory["used_memory_dataset"] + memory["used_memory_overhead"] - memory["used_memory_startup"]


def info(node: Redis, section: str) -> Mapping[str, float]:
    found: Mapping[str, float] = node.info(section)
    return found


def wide(features: int) -> FeatureGroup:
    """A group of so many features: FLOAT, INT and STRING as 4 : 3 : 3."""
    return group_of(USER, f"wide_{features}", tuple(_TYPES[i % len(_TYPES)] for i in range(features)))


def fill(redis: Redis, group: FeatureGroup, users: Sequence[str]) -> None:
    """Writes a row of each user; rows repeat, which costs Redis as much."""
    now, numbers = to_micros(datetime.now(UTC)), np.random.default_rng(SEED)
    schema = build_plan(group).schema
    writer = GuardedWriter(redis, schema)
    columns = [column_of(column.dtype, numbers) for column in schema.features]
    rows = [writer.encode(now - DAY, now, row, now) for row in zip(*columns, strict=True)]
    for start in range(0, len(users), _BATCH):
        keys = [key for name in users[start : start + _BATCH] if (key := entity_key(schema, {"user_id": name}))]
        writer.write(keys, rows[: len(keys)])
    writer.touch(datetime.now(UTC), now)


def column_of(dtype: DType, numbers: np.random.Generator) -> list[float] | list[int] | list[str]:
    """Values of a batch, as those of the shop."""
    if dtype == FLOAT:
        return [float(value) for value in numbers.gamma(2, 20, _BATCH)]
    if dtype == INT:
        return [int(value) for value in numbers.integers(0, 90, _BATCH)]
    return [f"category_{value}" for value in numbers.integers(0, 50, _BATCH)]


def snapshot_of(groups: Sequence[FeatureGroup]) -> RegistrySnapshot:
    """The definitions as a registry would have them."""
    state = desired_state(compile_project(Project(tuple(groups), (), {})))
    return RegistrySnapshot(1, state.entities, state.groups, state.views)


def url_of(redis: Redis) -> str:
    return f"redis://127.0.0.1:{redis.connection_pool.connection_kwargs['port']}/0"


def show(deviations: Sequence[Deviation]) -> None:
    print(f"{'':28} {'predicted':>10} {'measured':>10}")
    for each in deviations:
        print(f"{each.name:28} {each.predicted:10,.1f} {each.measured:10,.1f} {each.share:+8.0%}")
