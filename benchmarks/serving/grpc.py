"""CPU of the server for each call over gRPC: one entity of one group (R1), and 100 (R3), of ten features.

Run: .fs/venv/bin/python -m benchmarks.serving.grpc     (a Valkey of its own; about half a minute; needs two cores)
     .fs/venv/bin/python -m benchmarks.serving --grpc   (rows of the table of all servers, for each load)

The server runs on core 0 as in `benchmarks.serving`, on the same shop; Valkey and one Python client of grpc.aio share
core 1. Such a client takes more CPU than the server, so that the rate is the client's: CPU for each call is the number
to compare. The command of its own has, beside them, what gRPC itself costs, a call of the health service, and the CPU
of the server while nobody asks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from itertools import cycle
from statistics import quantiles

import grpc
from grpc_health.v1 import health_pb2

from benchmarks.serving.access import SECRET
from benchmarks.serving.loads import Load, loads
from benchmarks.serving.measurement import Measurement
from benchmarks.serving.ours import our_shop
from benchmarks.serving.report import quietest
from benchmarks.serving.server_process import ServerProcess, free_port
from feature_store import FeatureView
from feature_store.remote.address import ServerAddress
from feature_store.remote.grpc_messages import Call, GrpcMessages
from feature_store.remote.protocols import ReadKind

SECONDS = 3
ROUNDS = 3
HEALTH = Call(health_pb2.HealthCheckRequest().SerializeToString(), method="/grpc.health.v1.Health/Check")
_METADATA = (("authorization", f"Bearer {SECRET}"),)


def main() -> None:
    port = free_port()
    chosen = [load for load in loads() if load.name in ("R1 1 x 1", "R3 100 x 1")]
    with our_shop(port) as (_, running):
        before = running.cpu_seconds()
        time.sleep(SECONDS)
        print(f"idle: {(running.cpu_seconds() - before) / SECONDS:.2%} of a core")
        print(f"{'':20} {'calls/s':>9} {'CPU us':>8} {'p50 ms':>8} {'p99 ms':>8}   best of {ROUNDS}")
        asked = {"gRPC alone": ([HEALTH], chosen[0].connections)}
        asked |= {load.name: (our_calls(load), load.connections) for load in chosen}
        for label, (calls, connections) in asked.items():
            best = quietest([measure_grpc(running, port, calls, connections, SECONDS) for _ in range(ROUNDS)])
            p50, _, p99, _ = best.latencies
            print(f"{label:20} {best.rate:9,.0f} {best.cpu:8.1f} {p50:8.2f} {p99:8.2f}")


def our_calls(load: Load) -> list[Call]:
    """What our server is asked over gRPC."""
    messages = GrpcMessages(ServerAddress("127.0.0.1", 0, is_grpc=True))
    kind: ReadKind = "view" if isinstance(load.target, FeatureView) else "group"
    return [messages.read_request(kind, load.view.id, rows, load.request_values, None) for rows in load.requests]


def measure_grpc(server: ServerProcess, port: int, calls: Sequence[Call], at_once: int, seconds: float) -> Measurement:
    """One round: calls in turn over one connection, so many at once.

    Raises:
        grpc.RpcError: if one fails.
    """
    return asyncio.run(_measure(server, port, calls, at_once, seconds))


async def _measure(
    server: ServerProcess, port: int, calls: Sequence[Call], at_once: int, seconds: float
) -> Measurement:
    walls: list[float] = []
    turns = cycle(calls)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        methods = {call.method: channel.unary_unary(call.method) for call in calls}
        await methods[calls[0].method](calls[0].data, metadata=_METADATA)

        async def ask() -> None:
            while (began := time.perf_counter()) < end or len(walls) < 2:
                call = next(turns)
                await methods[call.method](call.data, metadata=_METADATA)
                walls.append(time.perf_counter() - began)

        before, start = server.cpu_seconds(), time.perf_counter()
        end = start + seconds
        await asyncio.gather(*(ask() for _ in range(at_once)))
        taken, cpu = time.perf_counter() - start, server.cpu_seconds() - before
    cuts = quantiles(walls, n=1000, method="inclusive")
    latencies = tuple(cuts[per_mille - 1] * 1e3 for per_mille in (500, 950, 990, 999))
    return Measurement(len(walls) / taken, cpu / len(walls) * 1e6, latencies)


if __name__ == "__main__":
    main()
