"""What a read over HTTP costs the program that asks, with threads and with an event loop, beside a read in process.

Run: .fs/venv/bin/python -m benchmarks.serving.client   (a Valkey of its own; about a minute; needs two cores)

R1 one entity of one group, R3 100 of one, R5 a user and 100 items over seven groups. The server runs on core 0, Valkey
and the client on core 1. CPU is that of the client's process for each call, up to vectors in hand; "one" has one call
at a time, "16" an event loop with 16 at once. With "to_numpy" the FLOAT and INT features become a matrix, too.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from benchmarks.online_write import valkey
from benchmarks.serving.__main__ import server
from benchmarks.serving.shop import CANDIDATES, ENTITIES, SEED, USERS, VIEWS, fill, item, user
from feature_store import AsyncFeatureStoreClient, FeatureStoreClient, FeatureView
from feature_store.errors import StackError
from feature_store.online.reader import OnlineReader
from feature_store.online.vectors import OnlineVectors
from feature_store.plan.build import view_schema
from feature_store.plan.schema import ViewSchema

ROUNDS = 5
CALLS = 600
"""Of a round."""
AT_ONCE = 16
DEADLINE = 30.0


class Load(NamedTuple):
    """What is asked for: rows of a group or a view, others each time."""

    name: str
    asked: str
    kind: Literal["view", "group"]
    view: ViewSchema
    rows: Sequence[list[dict[str, Any]]]


def loads() -> list[Load]:
    """R1, R3 and R5."""
    chance = random.Random(SEED)

    def users(count: int) -> list[dict[str, Any]]:
        return [{"user_id": user(number)} for number in chance.sample(range(ENTITIES), count)]

    group = view_schema(FeatureView(USERS[0].name, groups=[USERS[0]], owner="team:benchmarks"))
    candidates = [{"user_id": user(0), "item_id": item(i)} for i in range(CANDIDATES)]
    return [
        Load("R1 1 x 1", USERS[0].id, "group", group, [users(1) for _ in range(CALLS)]),
        Load("R3 100 x 1", USERS[0].id, "group", group, [users(100) for _ in range(CALLS)]),
        Load("R5 user, 100 items", VIEWS[1].id, "view", view_schema(VIEWS[1]), [candidates] * (CALLS // 4)),
    ]


class Figures(NamedTuple):
    """Of a round: CPU for each call in microseconds, latencies in milliseconds."""

    cpu: float
    p50: float
    p99: float


def figures(cpu: float, latencies: Sequence[float]) -> Figures:
    ordered = sorted(latencies)
    return Figures(cpu / len(ordered) * 1e6, *(ordered[int(len(ordered) * part)] * 1e3 for part in (0.5, 0.99)))


def with_threads(load: Load, call: Callable[[list[dict[str, Any]]], object]) -> Figures:
    latencies, before = [], time.process_time()
    for rows in load.rows:
        began = time.perf_counter()
        call(rows)
        latencies.append(time.perf_counter() - began)
    return figures(time.process_time() - before, latencies)


async def with_events(load: Load, call: Callable[[list[dict[str, Any]]], Awaitable[object]], at_once: int) -> Figures:
    latencies, waiting = [], iter(load.rows)

    async def work() -> None:
        for rows in waiting:
            began = time.perf_counter()
            await call(rows)
            latencies.append(time.perf_counter() - began)

    before = time.process_time()
    await asyncio.gather(*(work() for _ in range(at_once)))
    return figures(time.process_time() - before, latencies)


def numeric(view: ViewSchema) -> list[str]:
    return [column.name for column in view.outputs if column.dtype.is_numeric]


def measure(load: Load, url: str, redis_url: str) -> None:
    """Prints a load's figures, each those of the round with the least CPU, as others were disturbed."""
    names = numeric(load.view)
    with OnlineReader(redis_url) as reader, FeatureStoreClient(url, "", deadline=DEADLINE) as client:

        def over_http(rows: list[dict[str, Any]]) -> OnlineVectors:
            return client.online(load.asked, rows, kind=load.kind)

        async def events(at_once: int) -> Figures:
            async with AsyncFeatureStoreClient(url, "", deadline=DEADLINE) as asking:
                return await with_events(load, lambda rows: asking.online(load.asked, rows, kind=load.kind), at_once)

        ways: dict[str, Callable[[], Figures]] = {
            "in process": lambda: with_threads(load, lambda rows: reader.read(load.view, rows)),
            "client, one": lambda: with_threads(load, over_http),
            "client, one, to_numpy": lambda: with_threads(load, lambda rows: over_http(rows).to_numpy(names)),
            "async client, one": lambda: asyncio.run(events(1)),
            f"async client, {AT_ONCE}": lambda: asyncio.run(events(AT_ONCE)),
        }
        for name, way in ways.items():
            best = min((way() for _ in range(ROUNDS)), key=lambda found: found.cpu)
            print(f"{load.name:20} {name:24} {best.cpu:8.1f} {best.p50:8.2f} {best.p99:8.2f}")


def main() -> None:
    if (os.cpu_count() or 1) < 2:
        raise StackError("needs two cores", code="benchmark")
    os.sched_setaffinity(0, {1})
    with tempfile.TemporaryDirectory() as name, valkey(Path(name)) as redis:
        fill(redis)
        address = redis.connection_pool.connection_kwargs
        redis_url = f"redis://{address['host']}:{address['port']}/0"
        with server(Path(name), redis_url) as (_, port):
            print(f"{'':45} {'CPU us':>8} {'p50 ms':>8} {'p99 ms':>8}   best of {ROUNDS}")
            for load in loads():
                measure(load, f"http://127.0.0.1:{port}", redis_url)


if __name__ == "__main__":
    main()
