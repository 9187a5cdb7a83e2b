"""Runs one way in a process of its own: `python -m benchmarks.training.run_way MODULE:FUNCTION FOLDER MEMORY MOST`.

The function gets the folder and the bound of memory of ours, prepares itself (imports, files, a session) and gives what
is measured: a function that does it and gives the rows that came out. Printed, as JSON: seconds of the clock and of the
processors, the peak of memory beside what was there before, bytes read from files, rows out.

Only the standard library is imported here, since Feast's Python runs it, too.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module
from pathlib import Path

from benchmarks.training.process_tree import MemoryWatch, used

OUT_OF_MEMORY = 77
"""The exit code of a way that took more than it may."""


def main() -> None:
    module, _, function = sys.argv[1].partition(":")
    folder, memory, most = Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    run = getattr(import_module(module), function)(folder, memory)
    watch = MemoryWatch(most, lambda: os._exit(OUT_OF_MEMORY))
    before, started = used(), time.perf_counter()
    rows = run()
    seconds, after = time.perf_counter() - started, used()
    measured = {
        "seconds": seconds,
        "cpu": after.cpu - before.cpu,
        "peak": watch.peak(),
        "read": after.read - before.read,
        "rows": rows,
    }
    print(f"\n{json.dumps(measured)}", flush=True)


if __name__ == "__main__":
    main()
