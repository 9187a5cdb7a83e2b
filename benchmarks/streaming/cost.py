"""What the window kernel costs as windows grow against the slide, with more keys, and with more events of one key.

Run: .fs/venv/bin/python -m benchmarks.streaming.cost [--events 200000] [--users 10000] [--rounds 3] [--hot-key-only]

The same events through the real job (RocksDB, rows to Kafka and Iceberg) with windows of 60, 600, 1800 and 7200 slides
of 1 s; and as many events of 1,000, 10,000 and 100,000 users with a window of 1800 slides. Rates are compared with the
first of each series. Beside them what one event costs without Flink, in the kernel's own harness, where it is
counted and not timed: reads and writes of state.

Hot key, exact distinct: 4,000 to 32,000 events of one user, each of another item, in one hour, which is one tile. They
go through the harness alone, without a stack: the processor time of the kernel, and bytes of state read and written.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.streaming.flink_runs import bounded, prepare, run
from benchmarks.streaming.setting import BEGIN, Load, Workbench, show, workbench
from feature_store import INT, STRING, TIMESTAMP, Entity, Feature, FeatureGroup, agg
from feature_store.compile.kernel_spec import kernel_spec
from feature_store.dsl.source import StreamSource
from feature_store.duration import HOUR, SECOND
from feature_store.errors import StackError
from feature_store.plan.build import build_plan
from feature_store.plan.event_inputs import event_inputs
from feature_store.plan.nodes import GroupPlan, WindowedRows
from feature_store.stack_settings import StackSettings
from tests.integration.kernel_harness import KernelHarness, start_harness

WINDOWS = {"1m": 60, "10m": 600, "30m": 1800, "2h": 7200}
"""Windows and how many slides they have."""
USERS = (1_000, 10_000, 100_000)
HARNESS_EVENTS = 20_000
HOT_EVENTS = (4_000, 8_000, 16_000, 32_000)


def main() -> None:
    given = _arguments()
    with _harness() as harness:
        measure_hot_key(harness)
    if given.hot_key_only:
        return
    with workbench() as bench, _harness() as harness:
        measure_windows(bench, harness, Load(given.events, given.users), given.rounds)
        measure_users(bench, harness, given.events, given.rounds)


def measure_hot_key(harness: KernelHarness) -> None:
    print("events of one key in one tile, exact distinct, harness alone", flush=True)
    user = Entity("user", join_key="user_id")
    schema = {"user_id": STRING, "item_id": STRING, "event_ts": TIMESTAMP}
    items = Feature("user_items_count_distinct_1h", agg.count_distinct("item_id"), window="1h", dtype=INT)
    stream = StreamSource("hot", topic="hot", schema=schema, event_timestamp="event_ts", allowed_lateness="1h")
    plan = build_plan(
        FeatureGroup("hot", entity=user, source=stream, owner="team:bench", slide="1h", features=(items,))
    )
    for count in (HOT_EVENTS[0], *HOT_EVENTS):  # the first warms up the JVM
        steps = (
            {"event": {"key": "u", "at": BEGIN + HOUR // count * n, "passes": [], "values": [f"item-{n:09d}"]}}
            for n in range(count)
        )
        began = harness.processor_seconds()
        answer = harness.run(kernel_spec(plan), steps)
        took = harness.processor_seconds() - began
        assert answer.rows[0][3] == (count,)
        show(f"{count:,}", [took], "s", f"{answer.state_bytes / count / 1024:.1f} KiB of state for an event", 1)


def measure_windows(bench: Workbench, harness: KernelHarness, load: Load, rounds: int) -> None:
    stream = bench.source("windows")
    bench.preload(stream, load)
    print(f"{load}; window / slide, real job", flush=True)
    rates: dict[str, list[float]] = {f"{slides}": [] for slides in WINDOWS.values()}
    for number in range(rounds):
        for window, slides in WINDOWS.items():
            rates[f"{slides}"].append(_rate(bench, stream, load, window, number))
    _show_series(rates)
    few = Load(min(load.events, HARNESS_EVENTS), max(1, load.users * min(load.events, HARNESS_EVENTS) // load.events))
    _show_accesses({f"{n}": accesses(harness, bench.group(stream, window=w), few) for w, n in WINDOWS.items()})


def measure_users(bench: Workbench, harness: KernelHarness, events: int, rounds: int) -> None:
    print(f"{events:,} events in 60 min of event time, window / slide 1800; users, real job", flush=True)
    loads = {f"{users:,}": Load(events, users) for users in USERS}
    streams = {name: bench.source(f"users_{load.users}") for name, load in loads.items()}
    for name, load in loads.items():
        bench.preload(streams[name], load)
    rates: dict[str, list[float]] = {name: [] for name in loads}
    for number in range(rounds):
        for place, (name, load) in enumerate(loads.items()):
            version = 100 * (place + 1) + number
            rates[name].append(_rate(bench, streams[name], load, "30m", version))
    _show_series(rates)
    few = min(events, HARNESS_EVENTS)
    plans = {name: bench.group(stream) for name, stream in streams.items()}
    counted = {name: accesses(harness, plans[name], Load(few, load.users)) for name, load in loads.items()}
    _show_accesses(counted)


def accesses(harness: KernelHarness, plan: GroupPlan, load: Load) -> float:
    """Reads and writes of the kernel's state for each event, from the first one to when all windows are empty."""
    answer = harness.run(kernel_spec(plan), _steps(plan, load))
    if answer.error is not None:
        raise StackError(f"the kernel says {answer.error}", code="benchmark")
    return answer.state_accesses / load.events


def _steps(plan: GroupPlan, load: Load) -> Iterator[dict[str, Any]]:
    """Events as the kernel gets them, and once in a second of theirs the watermark."""
    assert plan.stream is not None
    assert isinstance(plan.rows, WindowedRows)
    names = [str(value.value) for value in event_inputs(plan.rows).values]
    newest = passed = 0
    for user, category, cents, at in zip(*load.columns(), strict=True):
        row = {"amount": cents / 100, "category": f"c{category}"}
        step: dict[str, Any] = {"key": f"u{user}", "at": at, "passes": [], "values": [row[name] for name in names]}
        newest = max(newest, at)
        moves = newest // SECOND > passed
        passed = newest // SECOND
        mark = {"watermark": (newest - plan.stream.out_of_orderness_size) // 1000 - 1} if moves else {}
        yield {"event": step, **mark}


@contextmanager
def _harness() -> Iterator[KernelHarness]:
    with tempfile.TemporaryDirectory() as folder:
        harness = start_harness(Path(folder), StackSettings.load().jars)
        try:
            yield harness
        finally:
            harness.close()


def _rate(bench: Workbench, stream: StreamSource, load: Load, window: str, number: int) -> float:
    plan = bench.group(stream, window=window, version=number + 1)
    wanted, job = prepare(bench, plan)
    return run(bench, wanted, bounded(job), load).rate


def _show_series(rates: dict[str, list[float]]) -> None:
    first = statistics.median(next(iter(rates.values())))
    for name, measured in rates.items():
        show(name, measured, "events/s", f"{statistics.median(measured) / first:.2f} of the first")


def _show_accesses(counted: dict[str, float]) -> None:
    print("  state accesses of an event: " + ", ".join(f"{name}: {count:.1f}" for name, count in counted.items()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--users", type=int, default=10_000, help="in the series of windows")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hot-key-only", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
