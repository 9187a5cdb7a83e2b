"""CPU of the server for each call over gRPC: one entity of one group (R1), and 100 (R3), of ten features.

Run: .fs/venv/bin/python -m benchmarks.serving.grpc   (a Valkey of its own; about half a minute; needs two cores)

The server runs on core 0 as in `benchmarks.serving`, on the same shop; Valkey and one Python client of grpc.aio with 32
calls at once share core 1. Such a client takes more CPU than the server, so that the rate is the client's: CPU for each
call is the number to compare. Beside them what gRPC itself costs, a call of the health service, and the CPU of the
server while nobody asks.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.serving.ours import our_shop
from benchmarks.serving.server_process import free_port
from benchmarks.serving.shop import ENTITIES, SEED, user
from feature_store.remote.online_pb2 import Column, Input, ReadRequest
from feature_store.remote.online_pb2_grpc import OnlineStub

SECONDS = 3
ROUNDS = 3
CALLS_AT_ONCE = 32
REQUESTS = 256


Call = Callable[[Any], Awaitable[Any]]


def request(chance: random.Random, count: int) -> ReadRequest:
    """Some users of one group."""
    users = [user(number) for number in chance.sample(range(ENTITIES), count)]
    return ReadRequest(id="user_orders@1", keys=[Input(name="user_id", column=Column(strings=users))])


def main() -> None:
    port = free_port()
    with our_shop(port) as (_, running):
        asyncio.run(show(running.process, port))


async def show(process: psutil.Process, port: int) -> None:
    before = cpu_of(process)
    await asyncio.sleep(SECONDS)
    print(f"idle: {(cpu_of(process) - before) / SECONDS:.2%} of a core")
    chance = random.Random(SEED)
    print(f"{'':20} {'calls/s':>9} {'CPU us':>8} {'p50 ms':>8} {'p99 ms':>8}   best of {ROUNDS}")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        read = OnlineStub(channel).ReadGroup  # type: ignore[no-untyped-call] # generated
        nothing = [health_pb2.HealthCheckRequest()]
        loads: tuple[tuple[str, Call, Sequence[Any]], ...] = (
            ("gRPC alone", health_pb2_grpc.HealthStub(channel).Check, nothing),
            ("R1 1 x 1", read, [request(chance, 1) for _ in range(REQUESTS)]),
            ("R3 100 x 1", read, [request(chance, 100) for _ in range(REQUESTS)]),
        )
        for label, call, requests in loads:
            rounds = [await measure(call, process, requests) for _ in range(ROUNDS)]
            rate, cpu, *latencies = min(rounds, key=lambda found: found[1])
            print(f"{label:20} {rate:9,.0f} {cpu:8.1f}", *(f"{latency:8.2f}" for latency in latencies))


async def measure(call: Call, process: psutil.Process, requests: Sequence[Any]) -> tuple[float, ...]:
    """Calls per second, microseconds of the server's CPU for each, and latencies in milliseconds."""
    seconds: list[float] = []
    end = time.perf_counter() + SECONDS

    async def ask(number: int) -> None:
        while (began := time.perf_counter()) < end:
            await call(requests[(number + len(seconds)) % len(requests)])
            seconds.append(time.perf_counter() - began)

    before = cpu_of(process)
    await asyncio.gather(*(ask(number) for number in range(CALLS_AT_ONCE)))
    cpu = cpu_of(process) - before
    ordered = sorted(seconds)
    latencies = (1e3 * ordered[int(share * len(ordered))] for share in (0.5, 0.99))
    return len(seconds) / SECONDS, cpu / len(seconds) * 1e6, *latencies


def cpu_of(process: psutil.Process) -> float:
    return float(sum(process.cpu_times()[:2]))


if __name__ == "__main__":
    main()
