"""What a pre-joined view costs and brings: reads and writes with and without vectors, side by side.

Run: .fs/venv/bin/python -m benchmarks.prejoin   (a Valkey of its own; about a minute)

Reads are the server's, over one connection in an event loop, without its native core and with it, if it can be
compiled: p50 one after another; CPU of the reader and of Valkey for a read, 16 at once. Shapes: R2 one entity of three
groups; 100 entities of three; R5 the ranking of 100 items for one user: three groups of the user, three of the items
and one of both (two sets, and one group by itself). Writes are those of 20,000 entities in three groups through the
guard, all new and then all again. 10 features in a group. Both ways take turns, round by round; what is told is the
median of rounds (from least to most).
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop
from redis import Redis

from benchmarks.online_read import ITEMS, OF_BOTH, OF_ITEMS, OF_USERS, USERS, write
from benchmarks.online_write import SEED, rows_of, valkey
from feature_store.dtypes import to_micros
from feature_store.duration import DAY
from feature_store.online.native.core import NativeCore
from feature_store.online.native.loader import open_core
from feature_store.online.read.multiplexed import MultiplexedReader
from feature_store.online.read.node import NodeAddress, RedisNode
from feature_store.online.read.steps import ViewReading
from feature_store.online.vector_sets import keep_sets, vector_sets
from feature_store.online.writer import GuardedWriter
from feature_store.plan.schema import GroupSchema, ViewedSchema, ViewSchema

ROUNDS = 5
SECONDS = 0.5
AT_ONCE = 16
ENTITIES = 20_000
Rows = Sequence[dict[str, Any]]


def main() -> None:
    chance = random.Random(SEED)
    users, items = [f"user_{i}" for i in range(USERS)], [f"item_{i}" for i in range(ITEMS)]
    ranked = [{"user_id": users[0], "item_id": item} for item in chance.sample(items, 100)]
    with tempfile.TemporaryDirectory() as folder, valkey(Path(folder)) as redis:
        for group in OF_USERS:
            write(redis, group, [{"user_id": user} for user in users])
        for group in OF_ITEMS:
            write(redis, group, [{"item_id": item} for item in items])
        write(redis, OF_BOTH[0], ranked)
        for name, groups, requests in (
            ("R2 1 x 3", OF_USERS, [[{"user_id": user}] for user in users]),
            ("100 x 3", OF_USERS, [[{"user_id": user} for user in chance.sample(users, 100)] for _ in range(50)]),
            ("R5 1 user, 100 items, 7 groups", [*OF_USERS, *OF_ITEMS, *OF_BOTH], [ranked]),
        ):
            uvloop.run(measure_reads(redis, name, view_of(groups), requests, None))
            if (core := open_core(Path(folder)).core) is not None:
                uvloop.run(measure_reads(redis, f"{name}, with the native core", view_of(groups), requests, core))
        redis.flushall()
        measure_writes(redis)


def view_of(groups: Sequence[GroupSchema]) -> ViewSchema:
    return ViewSchema("bench", 1, tuple(map(ViewedSchema, groups)))


async def measure_reads(
    redis: Redis, name: str, view: ViewSchema, requests: Sequence[Rows], core: NativeCore | None
) -> None:
    joined = replace(view, prejoin=True)
    keep_sets(redis, vector_sets([joined]), [viewed.group.id for viewed in view.groups])
    address = NodeAddress("127.0.0.1", redis.connection_pool.connection_kwargs["port"])
    found: dict[str, list[tuple[float, float, float]]] = {"groups": [], "vectors": []}
    async with RedisNode(address) as node:
        reader = MultiplexedReader(node)
        for _ in range(ROUNDS):
            for way, which in (("groups", view), ("vectors", joined)):
                found[way].append(await read_round(redis, reader, ViewReading(which, core=core), requests))
    print(name)
    for way, rounds in found.items():
        show(way, ("p50", "CPU of the reader", "of Valkey"), zip(*rounds, strict=True), "us")
    compare(found["groups"], found["vectors"])


async def read_round(
    redis: Redis, reader: MultiplexedReader, reading: ViewReading, requests: Sequence[Rows]
) -> tuple[float, float, float]:
    """Microseconds of a read, by the clock, of the reader's CPU and of Valkey's."""
    now = to_micros(datetime.now(UTC))

    async def read(number: int) -> None:
        await reader.read(reading, requests[number % len(requests)], {}, now)

    for number in range(20):
        await read(number)
    walls: list[float] = []
    until = time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        began = time.perf_counter()
        await read(len(walls))
        walls.append(time.perf_counter() - began)
    count, ours, theirs, until = 0, time.process_time(), cpu_of(redis), time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        await asyncio.gather(*(read(count + i) for i in range(AT_ONCE)))
        count += AT_ONCE
    took = time.process_time() - ours, cpu_of(redis) - theirs
    return statistics.median(walls) * 1e6, took[0] / count * 1e6, took[1] / count * 1e6


def measure_writes(redis: Redis) -> None:
    today = to_micros(datetime.now(UTC)) // DAY * DAY
    view = replace(view_of(OF_USERS), prejoin=True)
    features = rows_of(today).drop_columns(["feature_timestamp", "created_timestamp", "retracted"])
    names, *columns = features.slice(0, ENTITIES).to_pydict().values()
    rows = [*zip(*columns, strict=True)]
    found: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for _ in range(ROUNDS):
        for way in ("groups", "vectors"):
            redis.flushdb()
            if way == "vectors":
                keep_sets(redis, vector_sets([view]), [group.id for group in OF_USERS])
            writers = [(group, GuardedWriter(redis, group)) for group in OF_USERS]
            calls = [
                (
                    writer,
                    [f"{group.id}:{{{name}}}" for name in names],
                    [writer.encode(today, today, r, today) for r in rows],
                )
                for group, writer in writers
            ]
            for what in ("new", "again"):
                began, cpu = time.perf_counter(), cpu_of(redis)
                for writer, keys, values in calls:
                    writer.write(keys, values)
                count = len(rows) * len(calls)
                rate, took = count / (time.perf_counter() - began), (cpu_of(redis) - cpu) / count * 1e6
                found.setdefault((what, way), []).append((rate, took, bytes_of(redis) / len(rows)))
    for what in ("new", "again"):
        print(f"{ENTITIES:,} entities in three groups of one set, {what}")
        for way in ("groups", "vectors"):
            units = ("rows/s", "us of Valkey for a row", "bytes of an entity")
            show(way, units, zip(*found[what, way], strict=True), "")
        compare(found[what, "groups"], found[what, "vectors"])


def cpu_of(redis: Redis) -> float:
    """Seconds of CPU that Valkey has taken."""
    told: dict[str, float] = redis.info("cpu")
    return told["used_cpu_user"] + told["used_cpu_sys"]


def bytes_of(redis: Redis) -> int:
    """What Valkey has in memory."""
    told: dict[str, int] = redis.info("memory")
    return told["used_memory"] - told["used_memory_startup"]


def show(way: str, names: Sequence[str], figures: Iterable[Sequence[float]], unit: str) -> None:
    told = (
        f"{name} {statistics.median(values):,.1f} {unit} ({min(values):,.1f} to {max(values):,.1f})".replace("  ", " ")
        for name, values in zip(names, figures, strict=True)
    )
    print(f"  {way:8} {', '.join(told)}", flush=True)


def compare(groups: Sequence[tuple[float, ...]], vectors: Sequence[tuple[float, ...]]) -> None:
    median: Callable[[Sequence[float]], float] = statistics.median
    ratios = (median(v) / median(g) for g, v in zip(zip(*groups, strict=True), zip(*vectors, strict=True), strict=True))
    print(f"  {'ratio':8} {', '.join(f'{ratio:.2f}' for ratio in ratios)}", flush=True)


if __name__ == "__main__":
    main()
