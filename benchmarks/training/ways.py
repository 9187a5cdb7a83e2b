"""The ways that are compared, and how one of them is run: in a process of its own that starts with nothing read."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.training.run_way import OUT_OF_MEMORY
from benchmarks.training.setting import RESULT
from feature_store.local.java import embedded_java_home
from feature_store.settings import REPOSITORY, state_folder


@dataclass(frozen=True)
class Way:
    """One line of the table.

    Attributes:
        kind: "ours"; "sort" for the floor; "join" for joins whose result has to be ours; "feast" for what runs in
            Feast's Python, whose result is compared and told.
        prepare: "module:function" as `run_way` takes it.
    """

    name: str
    kind: Literal["ours", "sort", "join", "feast"]
    prepare: str

    @property
    def is_peer(self) -> bool:
        """Whether it is another's way to make the same dataset."""
        return self.kind in ("join", "feast")


_HERE = "benchmarks.training"
WAYS = (
    Way("ours, one node", "ours", f"{_HERE}.ours:one_node"),
    Way("read and sort, DuckDB", "sort", f"{_HERE}.sorts:by_duckdb"),
    Way("read and sort, Polars", "sort", f"{_HERE}.sorts:by_polars"),
    Way("DuckDB ASOF", "join", f"{_HERE}.as_of:by_duckdb"),
    Way("Polars join_asof", "join", f"{_HERE}.as_of:by_polars"),
    Way("range join, DuckDB", "join", f"{_HERE}.range_join:by_duckdb"),
    Way("range join, Spark SQL", "join", f"{_HERE}.range_join:by_spark"),
    Way("Feast, dask", "feast", f"{_HERE}.feast_program:dask"),
    Way("Feast, duckdb", "feast", f"{_HERE}.feast_program:duckdb"),
    Way("Feast, spark", "feast", f"{_HERE}.feast_program:spark"),
)
"""Another engine of ours is one more function in `ours`, and a line here."""


@dataclass(frozen=True)
class Run:
    """What one run has used: see `run_way`."""

    seconds: float
    cpu: float
    peak: int
    read: int
    rows: int


@dataclass(frozen=True)
class Limits:
    """What a run may take: bytes that ours may have in memory, bytes of any process, and seconds."""

    memory: int
    most: int
    seconds: float


def run(way: Way, folder: Path, limits: Limits, feast_python: Path | None) -> Run | str:
    """What a way has used, or why there is no result. The result is in the folder until the next run."""
    shutil.rmtree(folder / RESULT, ignore_errors=True)
    python = str(feast_python) if way.kind == "feast" else sys.executable
    command = [python, "-W", "ignore", "-m", f"{_HERE}.run_way", way.prepare, str(folder)]
    log = folder / "way.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*command, str(limits.memory), str(limits.most)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **(_feast_environment(folder) if way.kind == "feast" else {})},
            start_new_session=True,  # so that its children can be ended with it
        )
        try:
            out, _ = process.communicate(timeout=limits.seconds)
        except subprocess.TimeoutExpired:
            return f"not done in {limits.seconds:,.0f} s"
        finally:
            _end(process)
    if process.returncode == OUT_OF_MEMORY:
        return f"took more than {limits.most / 1e9:,.0f} GB"
    if process.returncode:
        lines = [line for line in log.read_text().splitlines() if line.strip()]
        return f"failed: {lines[-1][:100] if lines else process.returncode}"
    return Run(**json.loads(out.splitlines()[-1]))


def _end(process: subprocess.Popen[str]) -> None:
    """Ends what is left of a way: itself, and a Java that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def _feast_environment(folder: Path) -> dict[str, str]:
    """Feast tells nobody that it is used; its Spark runs on our Java."""
    java = os.environ.get("JAVA_HOME") or str(embedded_java_home(state_folder(os.environ)))
    return {
        "FEAST_USAGE": "False",
        "HOME": str(folder),
        "PYTHONPATH": str(REPOSITORY),
        "JAVA_HOME": java,
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
