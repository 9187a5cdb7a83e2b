"""Reads of one server process alone, and while groups are posted to it one after another.

Run: .fs/venv/bin/python -m benchmarks.serving.posts   (a running stack, ./fs up --no-dagster; needs wrk and two cores)

R1 of `benchmarks.serving` over eight connections; 300 groups are recorded, in a registry of its own that is dropped at
the end. Rounds take turns; what is told is the round with the least p99. On a busy machine the number to trust is the
CPU that a posted group takes of the process that answers reads: the interpreter is not theirs meanwhile.
"""

from __future__ import annotations

import http.client
import itertools
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from benchmarks.online_write import valkey
from benchmarks.registry.apply import own_registry
from benchmarks.serving.measurement import Counts
from benchmarks.serving.server_process import ServerProcess, free_port, server_process
from benchmarks.serving.shop import GROUPS, USER, USERS, VIEWS, fill_group, group_of, user
from benchmarks.serving.wrk import Request, Wrk
from feature_store.dsl.collect import Project
from feature_store.plan.project import compile_project
from feature_store.registry.store import Registry
from feature_store.settings import REPOSITORY

RECORDED = 300
CONNECTIONS, SECONDS, ROUNDS = 8, 5, 3
STARTER = """
import dataclasses, sys
from serving.__main__ import serve
from serving.settings import ServingSettings
serve(dataclasses.replace(ServingSettings.load(), registry_url=sys.argv[1]))
"""
"""The server's program with a registry that no setting can name."""
READS = [Request(f"/feature-groups/user_orders@1/online?entity_ids={user(i)}") for i in range(1_000)]


def main() -> None:
    os.sched_setaffinity(0, {1})
    numbers = itertools.count()
    alone: list[Counts] = []
    beside: list[Counts] = []
    with tempfile.TemporaryDirectory() as name, own_registry() as url, valkey(Path(name)) as redis:
        registry = Registry(url)
        more = tuple(group_of(USER, f"user_more_{i}") for i in range(RECORDED - len(GROUPS)))
        registry.apply(registry.plan(compile_project(Project((*GROUPS, *more), VIEWS, {}))), "benchmark")
        fill_group(redis, USERS[0])
        wrk, port = Wrk(Path(name)), int(redis.connection_pool.connection_kwargs["port"])
        environment = {
            "FS_HOME": name,
            "FS_PG_URL": "postgresql://nobody@127.0.0.1:1",
            "FS_REDIS_URL": f"redis://127.0.0.1:{port}/0",
            "FS_SERVING_PORT": str(free_port()),
            "FS_SERVING_GRPC_PORT": str(free_port()),
            "PYTHONPATH": str(REPOSITORY),
        }
        command = [sys.executable, "-c", STARTER, url]
        serving = server_process(command, environment, int(environment["FS_SERVING_PORT"]), "/ready", Path(name, "log"))
        with serving as server:
            posted: list[float] = []
            with posting(server, numbers, []):
                time.sleep(2)  # the first one takes longer
            before = sum(server.process.cpu_times()[:2])
            with posting(server, numbers, posted):
                time.sleep(ROUNDS * SECONDS)
            cpu = (sum(server.process.cpu_times()[:2]) - before) / len(posted)
            for _ in range(ROUNDS):
                alone.append(wrk.ask(server.port, READS, CONNECTIONS, SECONDS))
                with posting(server, numbers, posted):
                    beside.append(wrk.ask(server.port, READS, CONNECTIONS, SECONDS))
    print(f"{'R1, 8 connections':26} {'req/s':>8} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} {'p99.9':>8}")
    for label, found in (("alone", alone), ("while groups are posted", beside)):
        best = min(found, key=lambda counts: counts.latencies[2])
        shown = " ".join(f"{latency:8.2f}" for latency in best.latencies)
        print(f"{label:26} {best.requests / best.seconds:8,.0f} {shown}")
    middle = sorted(posted)[len(posted) // 2]
    print(f"{len(posted)} groups posted, {middle * 1e3:.0f} ms each, of which the process that reads took")
    print(f"{cpu * 1e3:.0f} ms of CPU")


@contextmanager
def posting(server: ServerProcess, numbers: Iterator[int], seconds: list[float]) -> Iterator[None]:
    """Posts one group after another as long as the block runs; notes how long each took."""
    ended = threading.Event()

    def post() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        while not ended.is_set():
            began = time.monotonic()
            body = msgspec.json.encode(group_of(USER, f"user_posted_{next(numbers)}").to_json())
            connection.request("POST", "/feature-groups", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            assert answer.status == 201, content
            seconds.append(time.monotonic() - began)
        connection.close()

    thread = threading.Thread(target=post)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


if __name__ == "__main__":
    main()
