"""Requests per second, latencies and CPU of one server process on one core, beside Redis' MGET of the same keys.

Run: .fs/venv/bin/python -m benchmarks.serving   (a Valkey of its own; about two minutes; needs wrk and two cores)

R1 one entity of one group, R2 one of three, R3 100 of one, R4 1,000 of one, R5 a user and 100 items over seven groups.
The server runs on core 0 with everything on (metrics, statuses, usage); Valkey and wrk share core 1. CPU is that of the
server's process for each request: the number to compare, as wrk and Valkey may be what holds the rate up.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import msgspec
import psutil

from benchmarks.online_write import valkey
from benchmarks.serving.shop import CANDIDATES, ENTITIES, SEED, fill, item, snapshot, user
from feature_store.errors import StackError
from feature_store.settings import REPOSITORY

SECONDS = 3
ROUNDS = 3
REQUESTS = 256
"""Different ones, in turn."""
SCRIPT = """
local paths = {}
for line in io.lines("%s") do paths[#paths + 1] = wrk.format("GET", line) end
local i = 0
request = function() i = i %% #paths + 1; return paths[i] end
done = function(summary, latency)
  io.write(string.format("RESULT %%d %%d %%d %%d %%d %%d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
    summary.errors.status + summary.errors.timeout + summary.errors.read + summary.errors.connect))
end
"""


@dataclass(frozen=True)
class Load:
    """A shape of requests: the path, the parameters of each, and how many connections ask."""

    name: str
    path: str
    queries: Sequence[dict[str, str]]
    connections: int = 32


@dataclass(frozen=True)
class Running:
    """A server: its process, and its ports of HTTP and gRPC."""

    process: psutil.Process
    port: int
    grpc_port: int


def loads() -> Iterator[Load]:
    """R1 to R5, as columns; R3 as records and MessagePack, too."""
    chance = random.Random(SEED)

    def users(count: int) -> str:
        return ",".join(user(number) for number in chance.sample(range(ENTITIES), count))

    group = "/feature-groups/user_orders@1/online"
    hundreds = [{"entity_ids": users(100)} for _ in range(REQUESTS)]
    candidates = {"user_id": user(0), "item_id": ",".join(map(item, range(CANDIDATES)))}
    yield Load("R1 1 x 1", group, [{"entity_ids": users(1)} for _ in range(REQUESTS)])
    yield Load("R2 1 x 3", "/feature-views/users@1/online", [{"user_id": users(1)} for _ in range(REQUESTS)])
    yield Load("R3 100 x 1", group, hundreds)
    yield Load("R3 records", group, [{**query, "shape": "records"} for query in hundreds])
    yield Load("R3 msgpack", group, [{**query, "shape": "msgpack"} for query in hundreds])
    yield Load("R4 1,000 x 1", group, [{"entity_ids": users(1_000)} for _ in range(32)], connections=4)
    yield Load("R5 user, 100 items", "/feature-views/ranking@1/online", [candidates], connections=8)


def main() -> None:
    wrk = shutil.which("wrk")
    if wrk is None or (os.cpu_count() or 1) < 2:
        raise StackError("needs wrk and two cores", remedy="apt-get install wrk", code="benchmark")
    os.sched_setaffinity(0, {1})
    with tempfile.TemporaryDirectory() as name, valkey(Path(name)) as redis:
        folder = Path(name)
        fill(redis)
        address = redis.connection_pool.connection_kwargs
        with server(folder, f"redis://{address['host']}:{address['port']}/0") as running:
            print(f"{'':20} {'req/s':>9} {'CPU us':>8} {'p50 ms':>8} {'p99 ms':>8} {'p99.9 ms':>8}   best of {ROUNDS}")
            for load in loads():
                show(load, [measure(wrk, folder, running.process, running.port, load) for _ in range(ROUNDS)])


@contextmanager
def server(folder: Path, redis_url: str) -> Iterator[Running]:
    """A server on core 0 that reads the definitions from its file: there is no registry."""
    home = folder / "home"
    (home / "serving").mkdir(parents=True)
    (home / "serving" / "definitions.json").write_bytes(msgspec.json.encode({"snapshot": snapshot()}))
    with socket.socket() as free, socket.socket() as another:
        for each in (free, another):
            each.bind(("127.0.0.1", 0))
        port, grpc_port = (int(each.getsockname()[1]) for each in (free, another))
    environment = {
        **os.environ,
        "FS_HOME": str(home),
        "FS_REDIS_URL": redis_url,
        "FS_PG_URL": "postgresql://nobody@127.0.0.1:1",
        "FS_SERVING_PORT": str(port),
        "FS_SERVING_GRPC_PORT": str(grpc_port),
        "PYTHONPATH": str(REPOSITORY),
    }
    command = ["taskset", "-c", "0", sys.executable, "-m", "serving"]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=REPOSITORY)
    try:
        while not is_ready(port):
            if process.poll() is not None:
                raise StackError((folder / "server.log").read_text(), code="benchmark")
            time.sleep(0.05)
        yield Running(psutil.Process(process.pid), port, grpc_port)
    finally:
        process.terminate()
        process.wait(30)


def is_ready(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def measure(wrk: str, folder: Path, process: psutil.Process, port: int, load: Load) -> tuple[float, ...]:
    """Requests per second, microseconds of the server's CPU for each, and its latencies in milliseconds."""
    paths, script = folder / "paths", folder / "load.lua"
    paths.write_text("\n".join(f"{load.path}?{urlencode(query, safe=',')}" for query in load.queries))
    script.write_text(SCRIPT % paths)
    before = sum(process.cpu_times()[:2])
    command = [wrk, "-t1", f"-c{load.connections}", f"-d{SECONDS}s", "-s", str(script), f"http://127.0.0.1:{port}"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    cpu = sum(process.cpu_times()[:2]) - before
    found = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)", told)
    if found is None or found[6] != "0":
        raise StackError(f"{load.name} failed: {told}", code="benchmark")
    count, duration, *latencies = map(int, found.groups()[:5])
    return count / duration * 1e6, cpu / count * 1e6, *(latency / 1e3 for latency in latencies)


def show(load: Load, rounds: Sequence[tuple[float, ...]]) -> None:
    """The round with the least CPU, as others were disturbed."""
    rate, cpu, *latencies = min(rounds, key=lambda found: found[1])
    print(f"{load.name:20} {rate:9,.0f} {cpu:8.1f}", *(f"{latency:8.2f}" for latency in latencies))


if __name__ == "__main__":
    main()
