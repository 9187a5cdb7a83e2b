"""What a cache of 5 s saves with keys of a Zipf distribution: reads of Redis and CPU of the server, with and without.

Run: .fs/venv/bin/python -m benchmarks.serving.cache        (a Valkey of its own; about a minute; needs wrk, two cores)

The servers are those of `benchmarks.serving`, one process each on core 0: one serves groups with cache="5s" and
remembers 10,000 values, the other one asks Redis each time. 100,000 users, of whom the n-th is asked for 1 / n ** 0.99
times as often as the first. No request is sent twice in a round; the cache is empty when a round begins. Keys read are
those that Valkey counts; the age of a group is one of them in each request without a cache.

The share of hits depends on how often a server is asked. So the last table plays rates of entities a second through the
cache alone, by a clock of its own, for 20 s.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from pathlib import Path

from redis import Redis

from benchmarks.online_write import valkey
from benchmarks.serving.loads import Load, zipf
from benchmarks.serving.ours import our_requests, our_server
from benchmarks.serving.server_process import ServerProcess
from benchmarks.serving.shop import SEED, USERS, fill, snapshot
from benchmarks.serving.wrk import Wrk
from feature_store.errors import StackError
from feature_store.online.read.cache import CACHE_ENTRIES, ValueCache
from feature_store.online.read.decoding import StoredValue
from feature_store.registry.snapshot import RegistrySnapshot

CACHE = "5s"
SECONDS, ROUNDS = 5, 2
SIZES = ((1, 250_000), (100, 40_000))
"""Entities of a request, and how many requests there are: more than are answered in a round."""
RATES = (100, 1_000, 10_000, 100_000)
PLAYED_SECONDS = 20


def main() -> None:
    given = _arguments()
    if (os.cpu_count() or 1) < 2:
        raise StackError("needs two cores", code="benchmark")
    os.sched_setaffinity(0, {1})
    chance = random.Random(SEED)
    loads = [Load(f"R{1 if n == 1 else 3} Zipf", USERS[0], zipf(chance, count, n)) for n, count in SIZES]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        wrk, redis = Wrk(folder), stack.enter_context(valkey(folder))
        url = f"redis://127.0.0.1:{redis.connection_pool.connection_kwargs['port']}/0"
        fill(redis)
        servers = {
            "without": stack.enter_context(our_server(folder / "without", url)),
            f"cache={CACHE}": stack.enter_context(our_server(folder / "cached", url, definitions=_cached())),
        }
        print(f"{'':12}{'':12}{'requests/s':>12}{'CPU us':>9}{'p50 ms':>8}{'p99 ms':>8}{'keys read / request':>21}")
        for load in loads:
            if not given.only or load.name.startswith(tuple(given.only)):
                _measure(load, servers, wrk, redis, given.seconds)
    print(f"\nentities/s   share of hits of {CACHE} and {CACHE_ENTRIES:,} values")
    for rate in RATES:
        asked = [row["user_id"] for row in chain.from_iterable(zipf(chance, PLAYED_SECONDS * rate, 1))]
        print(f"{rate:10,}   {asyncio.run(_share_of_hits(asked, rate)):.0%}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="LOAD", help="loads whose names begin so: R1 R3")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="of a round of a server")
    return parser.parse_args()


def _cached() -> RegistrySnapshot:
    """The definitions with groups that may be remembered."""
    state = snapshot()
    groups = tuple(replace(group, definition={**group.definition, "cache": CACHE}) for group in state.groups)
    return replace(state, groups=groups)


def _measure(load: Load, servers: dict[str, ServerProcess], wrk: Wrk, redis: Redis, seconds: int) -> None:
    """Prints the round with the least CPU of each server, and how much less is read."""
    requests, read = our_requests(load, "columns"), dict[str, float]()
    found: dict[str, list[tuple[float, str]]] = {name: [] for name in servers}
    for _ in range(ROUNDS):
        for name, server in servers.items():
            before = _keys_read(redis)
            result = server.measure(wrk, requests, load.connections, seconds)
            read[name] = (_keys_read(redis) - before) / (result.rate * seconds)
            p50, _, p99, _ = result.latencies
            line = f"{result.rate:12,.0f}{result.cpu:9.1f}{p50:8.2f}{p99:8.2f}{read[name]:21.2f}"
            found[name].append((result.cpu, line))
    for name, rounds in found.items():
        print(f"{load.name:12}{name:12}{min(rounds)[1]}")
    without, cached = read.values()
    entities = without - 1  # the other key is the age of the group
    print(f"{load.name:12}{1 - cached / without:.0%} fewer keys are read, {1 - cached / entities:.0%} fewer entities\n")


def _keys_read(redis: Redis) -> int:
    stats = redis.info("stats")
    return int(stats["keyspace_hits"]) + int(stats["keyspace_misses"])


async def _share_of_hits(asked: Sequence[str], rate: int) -> float:
    now = 0.0
    cache = ValueCache(CACHE_ENTRIES, lambda: now)

    async def ask(keys: Sequence[str]) -> Sequence[StoredValue]:
        return [None] * len(keys)

    for name in asked:
        now += 1 / rate
        await cache.values([name], [5.0], ask)
    return cache.hits / len(asked)


if __name__ == "__main__":
    main()
