"""What a read over HTTP costs the program that asks, with threads and with an event loop, beside a read in process.

Run: .fs/venv/bin/python -m benchmarks.serving.client   (a Valkey of its own; about a minute; needs two cores)

R1 one entity of one group, R3 100 of one, R5 a user and 100 items over seven groups. The server runs on core 0, Valkey
and the client on core 1. CPU is that of the client's process for each call, up to vectors in hand; "one" has one call
at a time, "16" an event loop with 16 at once. With "to_numpy" the FLOAT and INT features become a matrix, too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import cycle, islice
from typing import NamedTuple

from benchmarks.serving.loads import Load, Row, loads
from benchmarks.serving.ours import our_shop
from feature_store import AsyncFeatureStoreClient, FeatureStoreClient, FeatureView
from feature_store.online.reader import OnlineReader
from feature_store.online.vectors import OnlineVectors
from feature_store.plan.schema import ViewSchema
from feature_store.remote.calls import ReadKind

LOADS = ("R1 1 x 1", "R3 100 x 1", "R5 user, 100 items")
ROUNDS = 5
CALLS = 400
"""Of a round."""
AT_ONCE = 16
DEADLINE = 30.0


class Figures(NamedTuple):
    """Of a round: CPU for each call in microseconds, latencies in milliseconds."""

    cpu: float
    p50: float
    p99: float


def figures(cpu: float, latencies: Sequence[float]) -> Figures:
    ordered = sorted(latencies)
    return Figures(cpu / len(ordered) * 1e6, *(ordered[int(len(ordered) * part)] * 1e3 for part in (0.5, 0.99)))


def with_threads(load: Load, call: Callable[[Sequence[Row]], object]) -> Figures:
    latencies, before = [], time.process_time()
    for rows in islice(cycle(load.requests), CALLS):
        began = time.perf_counter()
        call(rows)
        latencies.append(time.perf_counter() - began)
    return figures(time.process_time() - before, latencies)


async def with_events(load: Load, call: Callable[[Sequence[Row]], Awaitable[object]], at_once: int) -> Figures:
    latencies: list[float] = []
    waiting = islice(cycle(load.requests), CALLS)

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
    kind: ReadKind = "view" if isinstance(load.target, FeatureView) else "group"
    with OnlineReader(redis_url) as reader, FeatureStoreClient(url, "", deadline=DEADLINE) as client:

        def over_http(rows: Sequence[Row]) -> OnlineVectors:
            return client.online(load.view.id, rows, kind=kind)

        async def events(at_once: int) -> Figures:
            async with AsyncFeatureStoreClient(url, "", deadline=DEADLINE) as asking:
                return await with_events(load, lambda rows: asking.online(load.view.id, rows, kind=kind), at_once)

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
    with our_shop() as (redis_url, running):
        print(f"{'':45} {'CPU us':>8} {'p50 ms':>8} {'p99 ms':>8}   best of {ROUNDS}")
        for load in loads():
            if load.name in LOADS:
                measure(load, f"http://127.0.0.1:{running.port}", redis_url)


if __name__ == "__main__":
    main()
