"""Our server with everything on (tokens, metrics, statuses, usage, samples), and the reader in this process."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec

from benchmarks.online_write import valkey
from benchmarks.serving.access import SECRET, add_token
from benchmarks.serving.loads import Load, Row, Shape
from benchmarks.serving.measurement import Measurement, measure_calls
from benchmarks.serving.server_process import CORE, ServerProcess, free_port, server_process
from benchmarks.serving.shop import fill, snapshot
from benchmarks.serving.wrk import Request
from feature_store import FeatureView
from feature_store.errors import StackError
from feature_store.online.reader import OnlineReader
from feature_store.online.vectors import OnlineVectors
from feature_store.registry.snapshot import RegistrySnapshot
from feature_store.settings import REPOSITORY


@contextmanager
def our_server(
    folder: Path,
    redis_url: str,
    grpc_port: int | None = None,
    *,
    definitions: RegistrySnapshot | None = None,
    processes: int = 1,
    cores: str = str(CORE),
) -> Iterator[ServerProcess]:
    """A server that reads the definitions from its file: there is no registry.

    Args:
        grpc_port: of its own unless given.
        definitions: those of the shop unless given.
        processes: how many serve, on all of the cores.
    """
    (folder / "serving").mkdir(parents=True)
    (folder / "serving" / "definitions.json").write_bytes(msgspec.json.encode({"snapshot": definitions or snapshot()}))
    port = free_port()
    add_token(folder / "serving" / "definitions.json")
    environment = {
        "FS_HOME": str(folder),
        "FS_REDIS_URL": redis_url,
        "FS_PG_URL": "postgresql://nobody@127.0.0.1:1",
        "FS_SERVING_PORT": str(port),
        "FS_SERVING_GRPC_PORT": str(grpc_port or free_port()),
        "FS_SERVING_PROCESSES": str(processes),
        "PYTHONPATH": str(REPOSITORY),
    }
    command = [sys.executable, "-m", "serving"]
    with server_process(command, environment, port, "/ready", folder / "server.log", cores) as server:
        yield server


@contextmanager
def our_shop(grpc_port: int | None = None) -> Iterator[tuple[str, ServerProcess]]:
    """A Valkey with all rows, its URL, and our server on it; who measures stays on the other core.

    Raises:
        StackError: if there is no other core.
    """
    if (os.cpu_count() or 1) < 2:
        raise StackError("needs two cores", code="benchmark")
    os.sched_setaffinity(0, set(range(os.cpu_count() or 1)) - {CORE})
    with tempfile.TemporaryDirectory() as name, valkey(Path(name)) as redis:
        fill(redis)
        url = f"redis://127.0.0.1:{redis.connection_pool.connection_kwargs['port']}/0"
        with our_server(Path(name) / "ours", url, grpc_port) as running:
            yield url, running


def our_requests(load: Load, shape: Shape) -> list[Request]:
    """What our server is asked: GET, as a view's key columns or a group's ids."""
    is_view = isinstance(load.target, FeatureView)
    path = f"/feature-{'views' if is_view else 'groups'}/{load.view.id}/online"
    others = {**load.request_values, **({} if shape == "columns" else {"shape": shape})}
    found = []
    for rows in load.requests:
        ids = {key.name if is_view else "entity_ids": _ids([row[key.name] for row in rows]) for key in load.view.keys}
        found.append(Request(f"{path}?{urlencode({**ids, **others}, safe=',')}", token=SECRET))
    return found


def _ids(values: Sequence[str]) -> str:
    """One value if it is that of every row, as a caller would write."""
    return values[0] if len(set(values)) == 1 else ",".join(values)


def our_answer(server: ServerProcess, load: Load) -> dict[str, Sequence[Any]]:
    """The values of the first request's rows, by feature."""
    answer = msgspec.json.decode(server.ask(our_requests(load, "columns")[0]))
    return dict(zip(answer["features"], zip(*answer["rows"], strict=True), strict=True))


def measure_reader(
    reader: OnlineReader, load: Load, use: Callable[[OnlineVectors], object], seconds: float
) -> Measurement:
    """Reads in this process, which is on the core of what is measured meanwhile; `use` gets the values out."""
    turns: Iterator[Sequence[Row]] = cycle(load.requests)
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {CORE})
    try:
        return measure_calls(lambda: use(reader.read(load.view, next(turns), request=load.request_values)), seconds)
    finally:
        os.sched_setaffinity(0, before)
