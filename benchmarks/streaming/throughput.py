"""How many events a second a streaming group takes in, beside the rivals on the same events.

Run: .fs/venv/bin/python -m benchmarks.streaming.throughput [--events 1000000] [--users 50000] [--rounds 3]

Events lie ready in a topic of two partitions. The group has five features (count, sum, mean, last, top_k) over 30
minutes at a slide of 1 s, RocksDB, parallelism 2, allowed lateness 10 min. In turns:

- the real job: rows in Kafka and committed in Iceberg, and by the loader in Redis (the slowest of the three counts);
- the same rows thrown away, which is what the rivals do with theirs;
- floor: events read and parsed, no windows;
- a PyFlink KeyedProcessFunction in thread mode with the same algorithm (five features, no lateness);
- Flink SQL's HOP window (count, sum, mean, no lateness), for a limited time.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field

from benchmarks.streaming.flink_runs import Run, bounded, hop, only_parsed, only_rows, prepare, run, run_python
from benchmarks.streaming.setting import Load, Workbench, show, until, workbench
from feature_store.compile.flink import updates_topic
from feature_store.dsl.source import StreamSource
from feature_store.errors import StackError
from feature_store.streaming.loader import CONSUMER_GROUP

WINDOW_MINUTES = 30
LOADER_SECONDS = 600.0


@dataclass
class Measured:
    """What the rounds gave."""

    whole: list[float] = field(default_factory=list)
    real: list[Run] = field(default_factory=list)
    rows: list[Run] = field(default_factory=list)
    floor: list[Run] = field(default_factory=list)
    python: list[Run] = field(default_factory=list)
    hop: list[Run] = field(default_factory=list)
    written: int = 0


def main() -> None:
    given = _arguments()
    load = Load(given.events, given.users)
    with workbench() as bench:
        stream = bench.source("clicks")
        seconds = bench.preload(stream, load)
        print(f"{load}; window {WINDOW_MINUTES} min, slide 1 s; sent in {seconds:.0f} s", flush=True)
        measured = Measured()
        for number in range(given.rounds):
            measure_real(bench, stream, load, number + 1, measured)
            plan = bench.group(stream, version=100 + number)
            wanted, job = prepare(bench, plan)
            job = bounded(job)
            measured.rows.append(run(bench, wanted, only_rows(job, plan), load))
            measured.floor.append(run(bench, wanted, only_parsed(job), load))
            if number < given.rival_rounds:
                measured.python.append(run_python(bench, wanted, job, load, given.python_seconds))
                measured.hop.append(run(bench, wanted, hop(job, WINDOW_MINUTES), load, given.hop_seconds))
        report(load, measured)


def measure_real(bench: Workbench, stream: StreamSource, load: Load, version: int, measured: Measured) -> None:
    """One run of the real job, with the loader.

    Raises:
        StackError: if a row is missing somewhere.
    """
    plan = bench.group(stream, version=version)
    bench.record(plan)
    wanted, job = prepare(bench, plan)
    found = run(bench, wanted, bounded(job), load)
    topic = updates_topic(plan.schema)
    ends = {number: place.end for number, place in bench.topics.offsets(topic).items() if place.end}

    def is_loaded() -> bool:
        done = bench.topics.committed(CONSUMER_GROUP, topic, list(ends))
        return all(done.get(number, 0) >= end for number, end in ends.items())

    late = 0.0
    if not is_loaded():
        until(is_loaded, "the loader does not come to the end", LOADER_SECONDS)
        late = time.time() - found.ended_ms / 1000
    measured.whole.append(load.events / (found.seconds + late))
    measured.real.append(found)
    measured.written = bench.rows_in_updates(plan)
    snapshot = bench.store.catalog.load_table(plan.schema.table).current_snapshot()
    stored = int((snapshot.summary["total-records"] if snapshot and snapshot.summary else None) or 0)
    users = len(set(load.columns()[0]))
    if (stored, bench.entities_online(plan)) != (measured.written, users):
        raise StackError(
            f"{measured.written} rows in Kafka, {stored} in Iceberg; not {users} entities in Redis", code="benchmark"
        )


def report(load: Load, measured: Measured) -> None:
    print("events/s, from when the job runs to its end")
    show("real job to Kafka, Iceberg and Redis", measured.whole, "events/s", f"{measured.written:,} rows each")
    compared = {
        "real job to Kafka and Iceberg": measured.real,
        "its rows thrown away": measured.rows,
        "floor: read and parsed": measured.floor,
        "PyFlink process function, thread mode": measured.python,
        "HOP window in SQL, 3 features": measured.hop,
    }
    for name, runs in compared.items():
        if runs:
            show(name, [one.rate for one in runs], "events/s", runs[-1].note)
    rows = _median(measured.rows)
    for name, runs in list(compared.items())[2:]:
        if runs and _median(runs):
            print(f"  rows thrown away, against {name}: {rows / _median(runs):.2f} times")
    print("state of the real job (RocksDB, incremental checkpoints every 10 s; the largest of a run)")
    show("state", [one.state_bytes / 2**20 for one in measured.real], "MiB", digits=1)
    show("state of a user", [one.state_bytes / load.users for one in measured.real], "bytes")
    show("written by a checkpoint", [one.checkpoint_bytes / 2**20 for one in measured.real], "MiB", digits=1)
    show("checkpoint, middle one", [one.checkpoint_ms[0] for one in measured.real], "ms")
    show("checkpoint, longest", [one.checkpoint_ms[1] for one in measured.real], "ms")
    show("checkpoints", [one.checkpoints for one in measured.real], "")


def _median(runs: list[Run]) -> float:
    return sorted(one.rate for one in runs)[len(runs) // 2]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rival-rounds", type=int, default=1, help="rounds of PyFlink and HOP")
    parser.add_argument("--python-seconds", type=float, default=600.0, help="limit of PyFlink")
    parser.add_argument("--hop-seconds", type=float, default=60.0, help="limit of HOP")
    return parser.parse_args()


if __name__ == "__main__":
    main()
