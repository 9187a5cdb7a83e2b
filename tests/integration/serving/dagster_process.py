"""Dagster's web server and code server, as the stack starts them, with a storage of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from feature_store.local.code_locations import code_locations
from feature_store.settings import REPOSITORY
from tests.conftest import Eventually
from tests.integration.own_valkey import free_port

INSTANCE = """telemetry: {enabled: false}
run_coordinator: {module: dagster._core.run_coordinator, class: DefaultRunCoordinator}
"""
"""Runs begin at once: the daemon, which takes them from a queue, is not there."""


_END_SECONDS = 30.0


@dataclass(frozen=True)
class RunningDagster:
    """The address of the web server, and the process of the code server, whose children are runs."""

    url: str
    code_pid: int


@contextmanager
def running_dagster(folder: Path, eventually: Eventually) -> Iterator[RunningDagster]:
    """Both, until the end."""
    home = folder / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text(INSTANCE)
    locations = code_locations(REPOSITORY / "workspace.yaml", folder, {}, (), 60.0)
    port = free_port()
    web = ("-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port), "-w", str(locations.workspace))
    (code,) = locations.services
    environ = {**os.environ, "DAGSTER_HOME": str(home), "DAGSTER_GRPC_TIMEOUT_SECONDS": "600"}  # of a busy machine
    with ExitStack() as ending, (folder / "dagster.log").open("ab") as log:
        pids = []
        for command in (code.command, (sys.executable, *web)):
            process = subprocess.Popen(command, env=environ, cwd=REPOSITORY, stdout=log, stderr=log)
            pids.append(process.pid)
            ending.callback(_end, process)
            if command is code.command:
                eventually(lambda: succeeds(code.ready))
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: succeeds(lambda: asked(url, "{ assetNodes { id } }")["assetNodes"]))
        yield RunningDagster(url, pids[0])


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process, and what it has started: a code server waits for its runs."""
    started = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_END_SECONDS)
    for each in started:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    process.kill()
    process.wait()


def succeeds(looked: Callable[[], object]) -> bool:
    try:
        return bool(looked())
    except OSError:
        return False


def asked(url: str, query: str, **variables: Any) -> dict[str, Any]:
    """What Dagster's GraphQL answers."""
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"{url}/graphql", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        data: dict[str, Any] = json.load(answer)["data"]
    return data
