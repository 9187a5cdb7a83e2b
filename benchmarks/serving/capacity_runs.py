"""What the capacity model is fitted to and checked against: a server and Valkeys, asked for groups of many widths.

Fitted to one process and one Valkey: 1, 20 and 100 rows of 10, 50, 500 features, and the memory of 200,000 rows each;
what a cluster takes more, to one process and a Redis Cluster of three primaries: 2, 20 and 100 rows of 10 features.
Checked with another width and other numbers of rows, against two processes and that cluster.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from redis import Redis

from benchmarks.online_write import valkey
from benchmarks.serving.capacity import (
    Figures,
    Formula,
    Point,
    commands,
    fit_nonnegative,
    redis_cpu,
    server_cpu,
    shards_asked,
)
from benchmarks.serving.ours import our_server
from benchmarks.serving.server_process import ServerProcess
from benchmarks.serving.shop import SEED, USER, group_of, user
from benchmarks.serving.wrk import Request, Wrk
from feature_store import FLOAT, INT, STRING, FeatureGroup
from feature_store.dsl.collect import Project
from feature_store.dtypes import DType, to_micros
from feature_store.duration import DAY
from feature_store.online.connection import connect
from feature_store.online.keys import entity_key
from feature_store.online.writer import GuardedWriter
from feature_store.plan.build import build_plan
from feature_store.plan.project import compile_project
from feature_store.registry.desired import desired_state
from feature_store.registry.snapshot import RegistrySnapshot
from tests.integration.own_cluster import running_cluster

ENTITIES = 200_000
FITTED, CHECKED = (10, 50, 500), 100
"""Features of the groups."""
FITTED_ROWS, CHECKED_ROWS = (1, 20, 100), (1, 10)
FITTED_IN_CLUSTER, CLUSTER_ROWS = 10, (2, 20, 100)
"""Features of the group and numbers of rows that a cluster is asked for."""
PROCESSES, SHARDS = 2, 3
CONNECTIONS, SECONDS, ROUNDS = 4, 1.0, 6
"""Connections of each process: about as many requests are under way in one that is half busy. More of them would share
system calls, of the server and of Redis, that no two requests share there.
"""
HEAD_BYTES = 230
"""Of an answer over HTTP, beside its body."""
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
    with measuring() as (folder, wrk), ExitStack() as stack:
        one, memory = stack.enter_context(one_redis(folder / "one"))
        groups = [wide(features) for features in FITTED]
        asked = [Question(one, group, rows, CONNECTIONS) for group in groups for rows in FITTED_ROWS]
        cluster = stack.enter_context(three_primaries(folder / "cluster"))
        single = stack.enter_context(cluster.deployment(1))
        deployment = stack.enter_context(cluster.deployment(PROCESSES))
        group = wide(FITTED_IN_CLUSTER)
        spread = [Question(single.parts[0], group, rows, CONNECTIONS) for rows in CLUSTER_ROWS]
        checked = questions(deployment)
        take_turns([*asked, *spread, *checked], wrk)
        figures = fitted(asked, memory, psutil.Process(one.server.process.pid).memory_info().rss)
        figures = fitted_in_cluster(figures, spread)
        show(deviations(deployment, checked, figures))
        return figures


def check_cluster(figures: Figures) -> None:
    """Prints what the model predicts of a Redis Cluster, beside what it takes."""
    with (
        measuring() as (folder, wrk),
        three_primaries(folder / "cluster") as cluster,
        cluster.deployment(PROCESSES) as deployment,
    ):
        show(check(deployment, figures, wrk))


@contextmanager
def measuring() -> Iterator[tuple[Path, Wrk]]:
    """A folder, and wrk on the core that servers are not on."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {1})
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder), Wrk(Path(folder))
    finally:
        os.sched_setaffinity(0, allowed)


def check(deployment: Deployment, figures: Figures, wrk: Wrk) -> list[Deviation]:
    """What the model predicts of a deployment, beside what it takes.

    Its nodes have to hold the users of its parts in the groups of CHECKED and FITTED_IN_CLUSTER features, nothing else.
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
    return Figures(**formulas, key=key, value=value, shard_cpu=0, process=process)


def fitted_in_cluster(figures: Figures, asked: Sequence[Question]) -> Figures:
    """The figures with what a request takes more in a cluster: for further shards, and for a command of each slot."""
    shards = [(each, shards_asked(each.rows, SHARDS)) for each in asked]
    measured = [each.least.server_cpu for each in asked]
    more = [each.least.server_cpu - figures.server_cpu.of(each.rows, FITTED_IN_CLUSTER) for each in asked]
    terms = [(number - 1, commands(each.rows, SHARDS) - 1) for each, number in shards]
    shard_cpu, command_cpu = fit_nonnegative(terms, more, measured)
    of_redis = [each.least.redis_cpu for each in asked]
    rest = [
        each.least.redis_cpu - figures.redis_cpu.of(each.rows, FITTED_IN_CLUSTER, requests=number)
        for each, number in shards
    ]
    (redis_command_cpu,) = fit_nonnegative(
        [[max(0, commands(each.rows, SHARDS) - number)] for each, number in shards], rest, of_redis
    )
    print(
        f"cluster: server {shard_cpu:.2f} us a shard, {command_cpu:.2f} us a command; Redis {redis_command_cpu:.2f} us"
    )
    return replace(figures, shard_cpu=shard_cpu, command_cpu=command_cpu, redis_command_cpu=redis_command_cpu)


def deviations(deployment: Deployment, asked: Sequence[Question], figures: Figures) -> list[Deviation]:
    """What is predicted of each amount, and its mean over all parts."""
    entities = sum(len(part.users) for part in deployment.parts) * deployment.copies
    kept = sum(memory_of(node) for part in deployment.parts for node in part.nodes) / entities
    held = sum(figures.key + features * figures.value for features in (CHECKED, FITTED_IN_CLUSTER))
    found = [Deviation("memory of an entity", held, kept)]
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


@dataclass(frozen=True)
class PrimariesOnly:
    """A Redis Cluster of three primaries with all entities, in the groups that it is asked for."""

    folder: Path
    url: str
    nodes: Sequence[Redis]
    users: Sequence[str]

    @contextmanager
    def deployment(self, processes: int) -> Iterator[Deployment]:
        """A server of so many processes on it."""
        definitions = snapshot_of([wide(FITTED_IN_CLUSTER), wide(CHECKED)])
        folder = self.folder / f"ours{processes}"
        with our_server(folder, self.url, definitions=definitions, processes=processes) as server:
            yield Deployment([Part(server, self.users, self.nodes)], processes, SHARDS)


@contextmanager
def three_primaries(folder: Path) -> Iterator[PrimariesOnly]:
    """A Redis Cluster without replicas; in its memory is the group that is checked, and one more while it is fitted."""
    users = [user(number) for number in range(ENTITIES)]
    with ExitStack() as stack:
        cluster = stack.enter_context(running_cluster(folder, announced=lambda port: port))
        nodes = [stack.enter_context(cluster.node(member)) for member in cluster.members]
        client = stack.enter_context(connect(cluster.url))
        for features in (CHECKED, FITTED_IN_CLUSTER):
            fill(client, wide(features), users)
        yield PrimariesOnly(folder, cluster.url, nodes, users)


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
