"""Drives the window kernel and the event parser in a plain JVM, without Flink: thousands of cases in one process."""

from __future__ import annotations

import base64
import json
import math
import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feature_store.local import jars
from feature_store.local.java import embedded_java_home
from feature_store.local.java_build import KERNEL, build_jar
from tests.integration.compared import COMPARED

NEEDED = ("jackson-core", "jackson-databind", "jackson-annotations", "avro", "slf4j-api", "ecj")


@dataclass(frozen=True)
class Answer:
    """What became of a stream: an error, or a verdict for each event and rows (key, T, created, values)."""

    error: str | None
    verdicts: tuple[str, ...] = ()
    rows: tuple[tuple[str, int, int, tuple[Any, ...]], ...] = ()
    entities_left: int = 0
    state_accesses: int = 0
    state_bytes: int = 0


class KernelHarness:
    """A running JVM; one case after another."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, spec: str, steps: Iterable[dict[str, Any]], *, ends: bool = True) -> Answer:
        """Plays steps (`event`, `watermark`, …) to a new kernel, up to the end of the stream if it `ends`."""
        last = {"end": True} if ends else {"answer": True}
        lines = [json.dumps({"spec": json.loads(spec)}), *map(json.dumps, steps), json.dumps(last)]
        answer = self._ask(lines)
        COMPARED["streams of events through the window kernel"] += 1
        if "error" in answer:
            return Answer(answer["error"])
        rows = [(key, at, created, tuple(values)) for key, at, created, values in answer["rows"]]
        counters = (answer[name] for name in ("entities_left", "state_accesses", "state_bytes"))
        return Answer(None, tuple(answer["verdicts"]), tuple(rows), *counters)

    def parse(self, spec: dict[str, Any], payloads: Sequence[bytes], clock: int = 0) -> list[dict[str, Any]]:
        """Each message as `at`, `problem` and `values`; the clock stands still (microseconds)."""
        self._send([json.dumps({"parser": spec, "clock": clock})])
        return [self._ask([json.dumps({"payload": base64.b64encode(payload).decode()})]) for payload in payloads]

    def processor_seconds(self) -> float:
        """The time that the JVM has computed since its start."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=20)

    def _send(self, lines: Iterable[str]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.writelines(line + "\n" for line in lines)
        self._process.stdin.flush()

    def _ask(self, lines: Iterable[str]) -> dict[str, Any]:
        self._send(lines)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the harness has ended: see its standard error"
        answer: dict[str, Any] = json.loads(line)
        return answer


def start_harness(folder: Path, jars_folder: Path) -> KernelHarness:
    """Compiles what does not need Flink, which shows that it does not, and starts it."""
    found = {jar.artifact: jar for jar in jars.read_lock() if jar.artifact in NEEDED}
    paths = jars.fetch([found[name] for name in NEEDED], jars_folder, os.environ.get("FS_JAR_MIRROR", ""), _silent)
    *libraries, compiler = paths
    java_home = embedded_java_home(folder)
    sources = folder / "sources"
    sources.mkdir()
    for file in KERNEL.glob("*.java"):
        if "import org.apache.flink" not in file.read_text(encoding="utf-8"):
            shutil.copy(file, sources)
    kernel = build_jar(java_home, compiler, libraries, sources, folder / "kernel")
    command = [str(java_home / "bin" / "java"), "-Xmx256m", "-XX:+UseSerialGC", "-cp"]
    command += [os.pathsep.join(map(str, [kernel, *libraries])), "featurestore.Harness"]
    pipes = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    return KernelHarness(pipes)


def json_value(value: Any) -> Any:
    """A value as the harness reads it: FLOATs that are not finite are text."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _silent(name: str, done: int, total: int) -> None:
    """Downloads are not reported."""
