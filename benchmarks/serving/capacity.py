"""How many processes, shards, bytes and dollars a load takes, from measured figures. docs/capacity.md explains it.

Run: .fs/venv/bin/python -m benchmarks.serving.capacity               (1 M requests/s, 100 M entities)
     .fs/venv/bin/python -m benchmarks.serving.capacity --rate 20000 --rows 100 --replicas 2 --vcpu-hour 0.03
     .fs/venv/bin/python -m benchmarks.serving.capacity --measure     (new figures; about four minutes)
     .fs/venv/bin/python -m benchmarks.serving.capacity --check       (the figures against a Redis Cluster; a minute)
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

FIGURES = Path(__file__).with_name("capacity.json")
GIB = 2**30
SLOTS = 16_384
"""Of a Redis Cluster."""


class Point(NamedTuple):
    """What was measured of a request for so many rows of so many features."""

    rows: int
    features: int
    measured: float


@dataclass(frozen=True)
class Formula:
    """An amount per request: microseconds or bytes.

    Attributes:
        request: whatever it asks for.
        feature: of each feature, however many rows: its name.
        row: of each row of a group, which is one key in Redis.
        value: of each feature of each row.
    """

    request: float
    feature: float
    row: float
    value: float

    def of(self, rows: float, features: float, *, requests: float = 1) -> float:
        """The amount of a request, or of one that is split into several."""
        return requests * self.request + features * self.feature + rows * (self.row + features * self.value)

    @classmethod
    def fit(cls, points: Sequence[Point]) -> Formula:
        """The one with the least squares of relative errors, in which nothing is negative."""
        terms = [[1, point.features, point.rows, point.rows * point.features] for point in points]
        measured = [point.measured for point in points]
        return cls(*fit_nonnegative(terms, measured, measured))

    def worst(self, points: Sequence[Point]) -> float:
        """The largest relative error at these points."""
        return max(abs(self.of(point.rows, point.features) / point.measured - 1) for point in points)


def fit_nonnegative(
    terms: Sequence[Sequence[float]], amounts: Sequence[float], measured: Sequence[float]
) -> list[float]:
    """The factors of terms with the least squares of errors relative to what was measured; none is negative.

    Args:
        terms: of each point.
        amounts: what they add up to.
        measured: the whole of which that is a part.
    """
    weights, wanted = 1 / np.array(measured), np.array(amounts)
    scaled = np.array(terms, float) * weights[:, None]
    used = list(range(scaled.shape[1]))
    factors = np.zeros(len(used))
    while used:
        found, *_ = np.linalg.lstsq(scaled[:, used], wanted * weights, rcond=None)
        if found.min() >= 0:
            factors[used] = found
            break
        used.pop(int(found.argmin()))
    return [*map(float, factors)]


@dataclass(frozen=True)
class Figures:
    """What was measured of one server process and one Redis, and of a Redis Cluster.

    Attributes:
        server_cpu, redis_cpu: microseconds for each request.
        answer: bytes to the caller.
        stored: bytes from Redis to the server.
        key, value: bytes of Redis' memory for each row, and for each feature of it.
        shard_cpu: microseconds of the server for each further shard that a request asks.
        process: bytes of a server process.
        command_cpu, redis_command_cpu: microseconds of the server for each command of a request after the first, and of
            Redis for each after the first of its shard: in a cluster there is one for each slot.
    """

    server_cpu: Formula
    redis_cpu: Formula
    answer: Formula
    stored: Formula
    key: float
    value: float
    shard_cpu: float
    process: float
    command_cpu: float = 0
    redis_command_cpu: float = 0


@dataclass(frozen=True)
class Workload:
    """What is kept and asked for.

    Attributes:
        rate: requests per second.
        rows: entities of a request.
        groups: of each entity, each of so many `features`: one key in Redis.
        groups_read: by a request.
    """

    rate: float = 1_000_000
    rows: int = 1
    entities: int = 100_000_000
    groups: int = 10
    features: int = 50
    groups_read: int = 1


@dataclass(frozen=True)
class Machines:
    """What it runs on, and at which price.

    Attributes:
        busy: share of a core that is used when all is well; the rest is for bursts and lost machines.
        full: share of a Redis node's memory that holds rows; the rest is for fragmentation, copies and buffers.
        node_gib: memory of a Redis node.
        node_vcpus: of a Redis node; one executes commands.
        replicas: of each shard; they are read, too.
        vcpu_hour, gib_hour: prices.
    """

    busy: float = 0.6
    full: float = 0.75
    node_gib: float = 64
    node_vcpus: int = 2
    replicas: int = 1
    vcpu_hour: float = 0.0405
    gib_hour: float = 0.0045


@dataclass(frozen=True)
class Capacity:
    """What a workload takes; memory in GiB, traffic in Gbit/s.

    Attributes:
        processes: of servers, one core each.
        shards: by memory or by CPU, whatever is more.
        nodes: all shards with their replicas.
        commands: shards that a request asks, on average.
        data: of one copy of all rows.
        hour: the price of an hour.
    """

    processes: int
    shards: int
    shards_by_memory: int
    shards_by_cpu: int
    nodes: int
    commands: float
    server_cpu: float
    redis_cpu: float
    data: float
    memory: float
    server_out: float
    redis_out: float
    hour: float


def shards_asked(rows: int, shards: int) -> float:
    """How many different shards have one of so many entities, on average; all groups of an entity are in one."""
    return 1.0 if rows == 1 else shards * (1 - (1 - 1 / shards) ** rows)


def commands(rows: int, shards: int) -> float:
    """How many commands read so many entities: one in all from one Redis, in a cluster one for each of their slots."""
    return 1.0 if shards == 1 else shards_asked(rows, SLOTS)


def server_cpu(figures: Figures, rows: int, keys: int, features: int, shards: int) -> float:
    """Microseconds of a request for so many entities, which are so many keys."""
    further = (shards_asked(rows, shards) - 1) * figures.shard_cpu + (commands(rows, shards) - 1) * figures.command_cpu
    return figures.server_cpu.of(keys, features) + further


def redis_cpu(figures: Figures, rows: int, keys: int, features: int, shards: int) -> float:
    """Microseconds of all nodes together for a request."""
    asked = shards_asked(rows, shards)
    further = max(0, commands(rows, shards) - asked) * figures.redis_command_cpu
    return figures.redis_cpu.of(keys, features, requests=asked) + further


def capacity(figures: Figures, load: Workload, machines: Machines) -> Capacity:
    """What a workload takes."""
    keys = load.rows * load.groups_read
    data = load.entities * load.groups * (figures.key + load.features * figures.value)
    by_memory = ceil(data / (machines.node_gib * GIB * machines.full))
    copies = 1 + machines.replicas

    def nodes_busy(shards: int) -> float:
        return load.rate * redis_cpu(figures, load.rows, keys, load.features, shards) / 1e6 / machines.busy

    by_cpu = 1
    while by_cpu * copies < nodes_busy(by_cpu):  # more shards are more commands, up to one for each row
        by_cpu = max(by_cpu + 1, ceil(nodes_busy(by_cpu) / copies))
    shards = max(by_memory, by_cpu)
    nodes = shards * copies
    of_server = server_cpu(figures, load.rows, keys, load.features, shards)
    processes = ceil(load.rate * of_server / 1e6 / machines.busy)
    memory = nodes * data / shards / machines.full / GIB + processes * figures.process / GIB
    redis_out = load.rate * figures.stored.of(keys, load.features, requests=shards_asked(load.rows, shards)) * 8 / 1e9
    return Capacity(
        processes=processes,
        shards=shards,
        shards_by_memory=by_memory,
        shards_by_cpu=by_cpu,
        nodes=nodes,
        commands=shards_asked(load.rows, shards),
        server_cpu=of_server,
        redis_cpu=redis_cpu(figures, load.rows, keys, load.features, shards),
        data=data / GIB,
        memory=memory,
        server_out=load.rate * figures.answer.of(keys, load.features) * 8 / 1e9,
        redis_out=redis_out,
        hour=(processes + nodes * machines.node_vcpus) * machines.vcpu_hour + memory * machines.gib_hour,
    )


def lines(load: Workload, machines: Machines, found: Capacity) -> list[str]:
    """A table."""
    entities = "an entity" if load.rows == 1 else f"{load.rows:,} entities"
    reads = f"{load.groups_read} of {load.groups} groups of {load.features} features of {entities}"
    each_server, each_node = found.server_out / found.processes * 1e3, found.redis_out / found.nodes * 1e3
    billion = found.hour / load.rate / 3_600 * 1e9
    table = {
        "load": f"{load.rate:,.0f} requests/s for {reads}; {load.entities:,} entities",
        "server processes": f"{found.processes:,}: {found.server_cpu:.1f} us a request, {machines.busy:.0%} busy",
        "shards": f"{found.shards:,}: {found.shards_by_memory:,} by memory, {found.shards_by_cpu:,} by CPU",
        "Redis nodes": f"{found.nodes:,}: {found.redis_cpu:.1f} us a request, which asks {found.commands:.1f} shards",
        "rows": f"{found.data:,.0f} GiB, one copy",
        "memory": f"{found.memory:,.0f} GiB, all nodes and servers",
        "servers to callers": f"{found.server_out:,.1f} Gbit/s, {each_server:,.0f} Mbit/s each process",
        "Redis to servers": f"{found.redis_out:,.1f} Gbit/s, {each_node:,.0f} Mbit/s each node",
        "price": f"{found.hour:,.2f} an hour, {found.hour * 730:,.0f} a month, {billion:,.2f} a billion requests",
    }
    return [f"{name:20} {text}" for name, text in table.items()]


def read_figures(path: Path = FIGURES) -> Figures:
    """Those that were measured last."""
    return msgspec.json.decode(path.read_bytes(), type=Figures)


def main() -> None:
    given = _arguments()
    if given.measure:
        from benchmarks.serving.capacity_runs import measure

        FIGURES.write_bytes(msgspec.json.format(msgspec.json.encode(measure())) + b"\n")
        return
    if given.check:
        from benchmarks.serving.capacity_runs import check_cluster

        check_cluster(read_figures())
        return
    load = Workload(given.rate, given.rows, given.entities, given.groups, given.features, given.groups_read)
    names = ("busy", "full", "node_gib", "node_vcpus", "replicas", "vcpu_hour", "gib_hour")
    machines = Machines(**{name: getattr(given, name) for name in names})
    print("\n".join(lines(load, machines, capacity(read_figures(), load, machines))))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="measures the figures, keeps and checks them")
    parser.add_argument("--check", action="store_true", help="checks the figures against a Redis Cluster of its own")
    for defaults in (Workload(), Machines()):
        for name, value in vars(defaults).items():
            parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    return parser.parse_args()


if __name__ == "__main__":
    main()
