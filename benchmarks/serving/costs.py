"""What a token and the sample of reads cost a server, in CPU for each request.

Run: .fs/venv/bin/python -m benchmarks.serving.costs [--rounds 40]     (needs wrk and two cores)

One server is asked for a second at a time: with everything on, without the sample (a signal switches it), and without a
token, in an order that changes from round to round. What is told is the median over the rounds of each round's
difference.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from statistics import median, quantiles

import msgspec

from benchmarks.serving.access import add_token
from benchmarks.serving.loads import Load, loads
from benchmarks.serving.ours import our_requests, our_shop
from benchmarks.serving.server_process import ServerProcess, free_port, server_process
from benchmarks.serving.shop import snapshot
from benchmarks.serving.wrk import Wrk
from feature_store.settings import REPOSITORY

LOADS = ("R1 1 x 1", "R3 100 x 1")
PROGRAM = """
import signal
from serving.__main__ import main
from serving.samples import ServedSamples
places = [ServedSamples.place, lambda *_: None]
def switch(*_):
    places.reverse()
    ServedSamples.place = places[0]
signal.signal(signal.SIGUSR1, switch)
main()
"""
"""The server; the signal stops the sample, and goes on with it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    chosen = [load for load in loads() if load.name in LOADS]
    with ExitStack() as stack:
        url, _ = stack.enter_context(our_shop())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(_server(folder, url))
        for load in chosen:
            _tell(load, _measured(load, Wrk(folder), server, rounds))


@contextmanager
def _server(folder: Path, redis_url: str) -> Iterator[ServerProcess]:
    definitions = folder / "serving" / "definitions.json"
    definitions.parent.mkdir()
    definitions.write_bytes(msgspec.json.encode({"snapshot": snapshot()}))
    add_token(definitions)
    port = free_port()
    environment = {
        "FS_HOME": str(folder),
        "FS_REDIS_URL": redis_url,
        "FS_PG_URL": "postgresql://nobody@127.0.0.1:1",
        "FS_SERVING_PORT": str(port),
        "FS_SERVING_GRPC_PORT": str(free_port()),
        "PYTHONPATH": str(REPOSITORY),
    }
    command = [sys.executable, "-c", PROGRAM]
    with server_process(command, environment, port, "/ready", folder / "server.log") as server:
        yield server


def _measured(load: Load, wrk: Wrk, server: ServerProcess, rounds: int) -> dict[str, list[float]]:
    """The CPU of a request in microseconds: of each way to ask in each round."""
    with_token = our_requests(load, "columns")
    without = [replace(request, token="") for request in with_token]
    ways = {"everything": (with_token, True), "no sample": (with_token, False), "no token": (without, True)}
    found: dict[str, list[float]] = {name: [] for name in ways}
    chance = random.Random(1)
    for _ in range(rounds):
        for name in chance.sample([*ways], len(ways)):
            requests, is_sampled = ways[name]
            with nullcontext() if is_sampled else _without_sample(server):
                found[name].append(server.measure(wrk, requests, load.connections, 1).cpu)
    return found


@contextmanager
def _without_sample(server: ServerProcess) -> Iterator[None]:
    server.process.send_signal(signal.SIGUSR1)
    yield
    server.process.send_signal(signal.SIGUSR1)


def _tell(load: Load, found: dict[str, list[float]]) -> None:
    whole = found["everything"]
    print(f"{load.name}: {median(whole):.2f} us of CPU for a request", flush=True)
    for name, what in (("no sample", "the sample"), ("no token", "the token")):
        costs = [all_ - less for all_, less in zip(whole, found[name], strict=True)]
        low, middle, high = quantiles(costs, n=4)
        print(f"  {what}: {middle:.2f} us ({low:.2f} to {high:.2f} in half of the rounds), "
              f"{middle / median(whole):.1%}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
