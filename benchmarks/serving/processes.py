"""Part "processes": our server as one process and as several, on all cores, which wrk and Valkey share with it.

On two cores the rate cannot double: wrk and Valkey need their part. CPU for each request tells whether processes stand
in each other's way: what stays the same for two of them lets the rate grow with the cores.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.serving.loads import Load
from benchmarks.serving.measurement import Measurement
from benchmarks.serving.ours import our_requests, our_server
from benchmarks.serving.wrk import Wrk

CONNECTIONS = 32
"""Of each process: more requests at once share more system calls, so that CPU could not be compared."""


def all_cores() -> str:
    """As taskset names them; this process, and what it starts, may use them, too."""
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    return ",".join(map(str, sorted(os.sched_getaffinity(0))))


def by_processes(
    numbers: Sequence[int],
    loads: Sequence[Load],
    seconds: float,
    wrk: Wrk,
    redis_url: str,
    folder: Path,
    stack: ExitStack,
) -> Mapping[str, Mapping[str, Callable[[], Measurement]]]:
    """What measures each load with so many processes; all servers run until the stack ends."""
    cores = all_cores()
    servers = {
        number: stack.enter_context(our_server(folder / f"ours{number}", redis_url, processes=number, cores=cores))
        for number in numbers
    }
    return {
        load.name: {
            f"ours, {number} process{'es' if number > 1 else ''}": partial(
                server.measure, wrk, our_requests(load, "columns"), CONNECTIONS * number, seconds
            )
            for number, server in servers.items()
        }
        for load in loads
    }
