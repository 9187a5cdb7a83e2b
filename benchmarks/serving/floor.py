"""The floor: the same keys from the same Redis, by a C client that decodes nothing, and by redis-benchmark."""

from __future__ import annotations

import csv
import io
import resource
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from benchmarks.serving.loads import Load
from benchmarks.serving.measurement import Measurement, read_counts
from benchmarks.serving.server_process import on_core
from feature_store.errors import StackError

SOURCE = Path(__file__).with_name("floor.c")


class Floor:
    """GET, or MGET of what a request reads, over as many connections.

    Attributes:
        missing: what is not installed, so left out.

    Args:
        port: of Redis.
        folder: for the compiled client and the commands.
    """

    def __init__(self, port: int, folder: Path) -> None:
        self._port, self._folder = port, folder
        self._client = self._compiled()
        self._benchmark = shutil.which("redis-benchmark") or shutil.which("valkey-benchmark")
        self.missing = [
            *([] if self._client else ["a C compiler (apt-get install gcc)"]),
            *([] if self._benchmark else ["redis-benchmark (apt-get install redis-tools)"]),
        ]

    def contenders(self, load: Load, seconds: float) -> dict[str, Callable[[], Measurement]]:
        """Those that are there, beside servers."""
        found = self.one_by_one(load, seconds, load.connections)
        if self._benchmark:
            found["redis-benchmark"] = lambda: self._with_benchmark(load, seconds)
        return found

    def one_by_one(self, load: Load, seconds: float, connections: int = 1) -> dict[str, Callable[[], Measurement]]:
        """The C client, if there is a compiler."""
        return {"C client": lambda: self._with_client(load, seconds, connections)} if self._client else {}

    def _compiled(self) -> Path | None:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            return None
        program = self._folder / "floor"
        subprocess.run([compiler, "-O2", "-o", str(program), str(SOURCE)], check=True)
        return program

    def _with_client(self, load: Load, seconds: float, connections: int) -> Measurement:
        commands = self._folder / f"{load.name}.commands".replace(" ", "_")
        if not commands.exists():
            commands.write_bytes(b"".join(_framed(_command(load, i)) for i in range(len(load.requests))))
        call = [str(self._client), str(self._port), str(connections), str(round(seconds * 1_000)), str(commands)]
        done = subprocess.run(on_core(call), capture_output=True, text=True, check=False)
        try:
            counts = read_counts(done.stdout)
        except ValueError:
            raise StackError(f"the C client: {done.stdout}{done.stderr}", code="benchmark") from None
        return counts.measurement(int(done.stdout.split()[-1]) / 1e6)

    def _with_benchmark(self, load: Load, seconds: float) -> Measurement:
        """It takes a number of calls, not of seconds: a short run tells how many."""
        few = self._benchmarked(load, 20 * load.connections)
        return self._benchmarked(load, max(20 * load.connections, round(few.rate * seconds)))

    def _benchmarked(self, load: Load, calls: int) -> Measurement:
        options = ["-p", str(self._port), "-c", str(load.connections), "-n", str(calls), "--csv"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            on_core([str(self._benchmark), *options, *_command(load, 0)]), capture_output=True, text=True, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        told = next(csv.DictReader(io.StringIO(done.stdout)))
        latencies = (*(float(told[f"{name}_latency_ms"]) for name in ("p50", "p95", "p99")), None)
        cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        return Measurement(float(told["rps"]), cpu / calls * 1e6, latencies)


def _command(load: Load, request: int) -> list[str]:
    keys = load.redis_keys(load.requests[request])
    return ["GET" if len(keys) == 1 else "MGET", *keys]


def _framed(words: list[str]) -> bytes:
    parts = [word.encode() for word in words]
    command = b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"%d\n%b" % (len(command), command)
