"""Feast's Python server and SDK, in an environment of their own, over the same rows in a Valkey of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import msgspec
import pyarrow.parquet as pq

from benchmarks.serving.loads import Load
from benchmarks.serving.measurement import Measurement
from benchmarks.serving.server_process import ServerProcess, free_port, on_core, server_process
from benchmarks.serving.shop import GROUPS, rows_of
from benchmarks.serving.wrk import Request
from feature_store.errors import StackError
from feature_store.local.locks import find_uv
from feature_store.settings import REPOSITORY, state_folder

REQUIREMENTS = REPOSITORY / "requirements" / "feast.txt"
SETTINGS = """\
project: benchmark
provider: local
registry: {folder}/registry.db
online_store:
  type: redis
  connection_string: 127.0.0.1:{port}
entity_key_serialization_version: 3
"""


def feast_python(note: Callable[[str], None]) -> Path:
    """The Python of `feast-venv` in the state folder, which is made if it is missing or outdated.

    Raises:
        StackError: if uv cannot make it.
    """
    home = state_folder(os.environ)
    folder = home / "feast-venv"
    python, marker = folder / "bin" / "python", folder / REQUIREMENTS.name
    if not (marker.exists() and marker.read_bytes() == REQUIREMENTS.read_bytes()):
        note(f"making Feast's Python environment in {folder}")
        uv = find_uv(home)
        for command in (
            [uv, "venv", "--no-project", "--clear", "--python", sys.executable, str(folder)],
            [uv, "pip", "sync", "--python", str(python), "--require-hashes", str(REQUIREMENTS)],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise StackError(f"Feast's environment cannot be made: {done.stderr}", code="benchmark")
        shutil.copyfile(REQUIREMENTS, marker)  # last: the sign that it is complete
    return python


def feast_features(load: Load) -> list[str]:
    """What a load reads, as Feast writes it: view:feature."""
    stored = [f"{viewed.group.name}:{column.name}" for viewed in load.view.groups for column in viewed.features]
    return stored + [f"{load.view.name}:{column.name}" for column in load.view.on_demand]


def feast_requests(load: Load) -> list[Request]:
    """What Feast's server is asked: a POST with columns of keys."""
    features = feast_features(load)
    found = []
    for rows in load.requests:
        columns = {key.name: [row[key.name] for row in rows] for key in load.view.keys}
        given = {name: [value] * len(rows) for name, value in load.request_values.items()}
        body = {"features": features, "entities": {**columns, **given}}
        found.append(Request("/get-online-features", msgspec.json.encode(body).decode()))
    return found


def feast_answer(server: ServerProcess, load: Load) -> dict[str, Sequence[Any]]:
    """The values of the first request's rows, by feature and key column."""
    answer = msgspec.json.decode(server.ask(feast_requests(load)[0]))
    names = answer["metadata"]["feature_names"]
    return {name: result["values"] for name, result in zip(names, answer["results"], strict=True)}


class FeastSdk:
    """`feast_program` in its own process, on the core of what is measured; filled as soon as it is there."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._log = log
        self._questions: IO[str] = process.stdin
        self._answers: IO[str] = process.stdout

    def wait_until_filled(self) -> None:
        """Raises:
        StackError: with its log, if it fails.
        """
        self._line()

    def measure(self, load: Load, seconds: float) -> Measurement:
        """`get_online_features(...).to_dict()` in one thread."""
        return Measurement(**self._ask(load, seconds))

    def answer(self, load: Load) -> dict[str, Sequence[Any]]:
        """The values of the first request's rows, by feature and key column."""
        values: dict[str, Sequence[Any]] = self._ask(load, 0)
        return values

    def _ask(self, load: Load, seconds: float) -> Any:
        rows = [[{**row, **load.request_values} for row in rows] for rows in load.requests]
        question = {"features": feast_features(load), "rows": rows, "seconds": seconds}
        self._questions.write(json.dumps(question) + "\n")
        self._questions.flush()
        return json.loads(self._line())

    def _line(self) -> str:
        line = self._answers.readline()
        if not line:
            raise StackError(f"Feast ended: {self._log.read_text()[-4_000:]}", code="benchmark")
        return line


@contextmanager
def feast_server(python: Path, folder: Path) -> Iterator[ServerProcess]:
    """The server of the repository in a folder: one worker, which is never started anew, and no log of requests."""
    port = free_port()
    options = ["serve", "-h", "127.0.0.1", "-p", str(port), "-w", "1", "--no-access-log", "--max-requests", "0"]
    command = [str(python.with_name("feast")), "-c", str(folder), *options]
    with server_process(command, _environment(folder), port, "/health", folder / "server.log") as server:
        yield server


@contextmanager
def feast_sdk(python: Path, folder: Path, redis_port: int) -> Iterator[FeastSdk]:
    """Makes a feature repository in a folder and begins to fill its online store, as Feast itself writes."""
    folder.mkdir()
    (folder / "feature_store.yaml").write_text(SETTINGS.format(folder=folder, port=redis_port))
    groups = [
        {
            "name": group.name,
            "keys": list(group.entity.keys),
            "features": {feature.name: str(feature.dtype) for feature in group.features},
        }
        for group in GROUPS
    ]
    (folder / "groups.json").write_text(json.dumps(groups))
    for group in GROUPS:
        pq.write_table(rows_of(group), folder / f"{group.name}.parquet")
    command = on_core([str(python), "-W", "ignore", "-m", "benchmarks.serving.feast_program", str(folder)])
    log = folder / "sdk.log"
    environment = {**os.environ, **_environment(folder), "PYTHONPATH": str(REPOSITORY)}
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        yield FeastSdk(process, log)
    finally:
        process.terminate()
        process.wait(30)


def _environment(folder: Path) -> dict[str, str]:
    """Feast tells nobody that it is used, and its server keeps its control socket out of the user's home."""
    return {"FEAST_USAGE": "False", "HOME": str(folder)}
