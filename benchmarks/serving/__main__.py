"""Requests per second, latencies and CPU of our server, beside Feast's Python server and the floor of Redis.

Run: .fs/venv/bin/python -m benchmarks.serving                        (Valkeys of its own; needs wrk and two cores)
     .fs/venv/bin/python -m benchmarks.serving --beside feast floor   (about six minutes; installs Feast first)
     .fs/venv/bin/python -m benchmarks.serving --grpc                 (the same rows over gRPC, too: grpc.py says how)
     .fs/venv/bin/python -m benchmarks.serving --processes 1 2        (instead: so many processes on all cores)

R1 one entity of one group, R2 one of three, R3 100 of one, R4 1,000 of one, R5 a user and 100 items over seven groups;
100,000 users and items, ten features in a group. Some also with keys of a Zipf distribution, with two on-demand
features, and of a group with a 64-float embedding. Each server is one process on core 0 (ours with tokens, metrics,
statuses, usage and samples on: benchmarks.serving.costs says what two of them cost); Valkey and wrk share core 1. CPU
is that of the server for each request: the number to trust, as wrk and Valkey may be what holds the rate up. Contenders
take turns, load by load, in each round; what is told is the round with the least CPU, and from where to where the rates
went; rates are compared at the best of all rounds.

- Feast 0.67: `feast serve` with one worker, no access log and `--max-requests 0`; the same rows, written by its
  `write_to_online_store` into a Valkey of its own. Before anything is measured, its answers are compared with ours.
- floor: a C client (floor.c) on core 0 that sends ready-made GET or MGET of the same keys over as many connections and
  decodes nothing; and redis-benchmark, which asks for the keys of one request again and again: they are in Valkey's
  CPU cache, so it is no floor of requests that differ.
- in process: one call after another on core 0: our reader, as vectors and as dicts, beside Feast's SDK (`to_dict()`)
  and the C client over one connection.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from redis import Redis

from benchmarks.online_write import valkey
from benchmarks.serving.feast_server import (
    FeastSdk,
    feast_answer,
    feast_python,
    feast_requests,
    feast_sdk,
    feast_server,
)
from benchmarks.serving.floor import Floor
from benchmarks.serving.grpc import measure_grpc, our_calls
from benchmarks.serving.loads import Load, loads
from benchmarks.serving.measurement import Measurement
from benchmarks.serving.ours import measure_reader, our_answer, our_requests, our_server
from benchmarks.serving.processes import all_cores, by_processes
from benchmarks.serving.report import FEAST, Rounds, table
from benchmarks.serving.server_process import ServerProcess, free_port
from benchmarks.serving.shop import fill
from benchmarks.serving.wrk import Wrk
from feature_store.errors import StackError
from feature_store.online.reader import OnlineReader
from feature_store.online.vectors import OnlineVectors

SHORT = 0.2
"""Calls in one process, and the floor, are measured for this share of a server's seconds: they vary less."""
Contenders = Mapping[str, Callable[[], Measurement]]
"""What measures one round of each, by name."""


def main() -> None:
    given = _arguments()
    if (os.cpu_count() or 1) < 2:
        raise StackError("needs two cores", code="benchmark")
    chosen = [load for load in loads() if not given.only or load.name.startswith(tuple(given.only))]
    if given.processes:
        show_processes(given.processes, chosen, given.seconds, given.rounds)
        return
    os.sched_setaffinity(0, {1})
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        wrk, redis = Wrk(folder), stack.enter_context(valkey(folder))
        floor = Floor(_port(redis), folder) if "floor" in given.beside else None
        sdk = others = None
        if "feast" in given.beside:
            python, other_redis = feast_python(print), stack.enter_context(valkey(folder))
            sdk = stack.enter_context(feast_sdk(python, folder / "feast", _port(other_redis)))
        fill(redis)  # while Feast fills its own
        grpc_port = free_port()
        ours = stack.enter_context(our_server(folder / "ours", f"redis://127.0.0.1:{_port(redis)}/0", grpc_port))
        if sdk is not None:
            sdk.wait_until_filled()
            others = stack.enter_context(feast_server(python, folder / "feast"))
            for load in chosen:
                check_same(load, our_answer(ours, load), feast_answer(others, load))
                check_same(load, our_answer(ours, load), sdk.answer(load))
        for name in floor.missing if floor else ():
            print(f"left out of the floor: it needs {name}")
        served = {
            load.name: {
                **(over_grpc(load, given.seconds, ours, grpc_port) if given.grpc else {}),
                **over_http(load, given.seconds, wrk, ours, others, floor),
            }
            for load in chosen
        }
        called = {
            load.name: in_process(load, given.seconds * SHORT, OnlineReader(redis), sdk, floor)
            for load in chosen
            if load.in_process
        }
        for title, contenders in (("Servers", served), ("In process, one call after another", called)):
            print("\n".join(table(title, take_turns(contenders, given.rounds))), flush=True)


def show_processes(numbers: Sequence[int], chosen: Sequence[Load], seconds: float, rounds: int) -> None:
    """Prints a table of our server as so many processes."""
    all_cores()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = stack.enter_context(valkey(folder))
        fill(redis)
        url = f"redis://127.0.0.1:{_port(redis)}/0"
        contenders = by_processes(numbers, chosen, seconds, Wrk(folder), url, folder, stack)
        print("\n".join(table("Processes", take_turns(contenders, rounds))))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beside", nargs="+", choices=("feast", "floor"), default=[], help="what else is measured")
    parser.add_argument("--grpc", action="store_true", help="our server over gRPC, too")
    parser.add_argument("--only", nargs="+", default=[], metavar="LOAD", help="loads whose names begin so: R1 R3")
    parser.add_argument("--processes", nargs="+", type=int, default=[], help="our server alone, with so many processes")
    parser.add_argument("--seconds", type=int, default=2, help="of a round of a server")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def _port(redis: Redis) -> int:
    return int(redis.connection_pool.connection_kwargs["port"])


def over_http(
    load: Load, seconds: float, wrk: Wrk, ours: ServerProcess, others: ServerProcess | None, floor: Floor | None
) -> Contenders:
    """Our server in each shape, Feast's, and the floor with as many connections."""
    found: dict[str, Callable[[], Measurement]] = {
        f"ours, {shape}": partial(ours.measure, wrk, our_requests(load, shape), load.connections, seconds)
        for shape in load.shapes
    }
    if others is not None:
        longer = max(seconds, load.least_seconds)
        found[FEAST] = partial(others.measure, wrk, feast_requests(load), load.connections, longer)
    return {**found, **(floor.contenders(load, seconds * SHORT) if floor else {})}


def over_grpc(load: Load, seconds: float, ours: ServerProcess, port: int) -> Contenders:
    """Our server over gRPC, asked by a client in this process."""
    return {"ours, gRPC": partial(measure_grpc, ours, port, our_calls(load), load.connections, seconds)}


def in_process(
    load: Load, seconds: float, reader: OnlineReader, sdk: FeastSdk | None, floor: Floor | None
) -> Contenders:
    """Our reader, with values as they are stored and as Python has them, Feast's SDK, and the floor."""
    found: dict[str, Callable[[], Measurement]] = {
        "ours, vectors": partial(measure_reader, reader, load, lambda vectors: vectors, seconds),
        "ours, to_dicts": partial(measure_reader, reader, load, OnlineVectors.to_dicts, seconds),
    }
    if sdk is not None:
        found[FEAST] = partial(sdk.measure, load, seconds)
    return {**found, **(floor.one_by_one(load, seconds) if floor else {})}


def take_turns(loads: Mapping[str, Contenders], rounds: int) -> Rounds:
    """All contenders of a load one after another, load by load, and this so many times."""
    found: dict[str, dict[str, list[Measurement]]] = {
        load: {name: [] for name in contenders} for load, contenders in loads.items()
    }
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        for load, contenders in loads.items():
            for name, measure in contenders.items():
                found[load][name].append(measure())
    return found


def check_same(load: Load, ours: Mapping[str, Sequence[Any]], feast: Mapping[str, Sequence[Any]]) -> None:
    """Raises:
    StackError: if Feast has another value of one of our features for a row.
    """
    for feature, values in ours.items():
        theirs = feast[feature]
        if len(values) != len(theirs) or not all(map(_is_same, values, theirs)):
            raise StackError(
                f"{load.name}: {feature} is {values[:3]} in our answer, {theirs[:3]} in Feast's", code="benchmark"
            )


def _is_same(one: Any, other: Any) -> bool:
    """Floats as far as a float32 in decimals goes: embeddings are such."""
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return math.isclose(one, other, rel_tol=1e-6) if isinstance(one, float) else bool(one == other)


if __name__ == "__main__":
    main()
