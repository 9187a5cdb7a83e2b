"""How fast a training dataset is made, beside other ways to make it, in one run.

Run: .fs/venv/bin/python -m benchmarks.training --quick       (every way, so small that starts count; 3 minutes)
     .fs/venv/bin/python -m benchmarks.training               (100,000 to 1 M labels, 1 and 3 groups)
     .fs/venv/bin/python -m benchmarks.training --labels 100000 1000000 5000000 20000000 --groups 1 3 5 \\
         --rows 10000000 --peers all --plot training.svg
     .fs/venv/bin/python -m benchmarks.training --labels 100000000 --groups 5 --features 3 --keys integer --only ours

Labels in a Parquet file are joined with groups in Iceberg tables partitioned by day and bucket (15 days, one row in
200 written again); one entity has 5 % of the labels and of each group's rows (--hot). In turns, each in a process of
its own that starts with nothing read:

- ours: labels checked and hashed, files planned, joined, written as Parquet in the order of the labels, with a record;
- read and sort: the columns of the groups read and sorted by key and time, by DuckDB and by Polars: what a join by
  sorting has to do at least, without labels and without a result;
- DuckDB ASOF and Polars join_asof: the same join with all labels in memory, its result written as Parquet;
- range join: the literature's SQL, the last of all rows before a label by row_number, in DuckDB and in Spark SQL;
- Feast 0.67's offline stores on the same files, in an environment of their own that is made at the first run.

Starting a process, its imports and Spark's session are not measured. Each line has the medians of seconds on the clock
and on the processors (which tell more on a busy machine), both also as multiples of the better of "read and sort"; the
peak of memory beside what the process had before, children included; the bytes that were asked of files, in the page
cache or not; rows in and out; and of how many labels of a sample the row differs from ours. Ways that fail at a size
are left out at larger ones. At the end: how time grows with N + M, and a cost model, fitted to all runs of ours but the
largest and compared with that; its seconds are those of a machine that is as busy as this one was.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from benchmarks.serving.feast_server import feast_python
from benchmarks.training.comparison import differing, sample
from benchmarks.training.cost_model import CostModel, Point, slope
from benchmarks.training.made import Size, make
from benchmarks.training.plot import plot
from benchmarks.training.report import medians, table
from benchmarks.training.ways import WAYS, Limits, Run, Way, run
from feature_store.settings import JOIN_MEMORY

_LARGE = Size(100_000_000, 5, 10_000_000, 10, 200_000, "string", 7, 0.05)
_LEAST_RUNS = 6
"""With fewer runs of different sizes a cost model of four terms says nothing."""


def main() -> None:
    given = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # so that what is measured ends, too
    cores = os.cpu_count() or 1
    print(
        f"{cores} cores, load {os.getloadavg()[0]:.1f}, {given.rounds} rounds, {given.memory} MB for ours", flush=True
    )
    ways = [way for way in WAYS if given.only is None or way.name.startswith(tuple(given.only))]
    feast = feast_python(print) if any(way.kind == "feast" for way in ways) else None
    limits = Limits(given.memory << 20, given.most << 20, given.seconds)
    points: list[Point] = []
    failed: set[Way] = set()
    wrong: set[str] = set()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        sizes = _sizes(given)
        for size in sizes:
            folder = Path(name) / f"{size.rows}"
            make(folder, size)
            chosen = [way for way in ways if way not in failed and (given.peers == "all" or not way.is_peer)]
            if size == sizes[-1]:
                chosen = [way for way in ways if way not in failed]
            measured, differs = _compare(chosen, folder, size, given.rounds, limits, feast)
            print("\n".join(table(size, measured, differs)), flush=True)
            failed |= {way for way, runs in measured.items() if isinstance(runs, str)}
            wrong |= {way.name for way, found in differs.items() if way.kind == "join" and not found.startswith("0 ")}
            for way, runs in measured.items():
                if way.name == WAYS[0].name and not isinstance(runs, str):
                    points.append(Point(size, medians(runs).seconds, medians(runs).cpu))
    _conclude(points, cores, given.plot)
    if wrong:
        raise SystemExit(f"another result than ours: {', '.join(sorted(wrong))}")


def _sizes(given: argparse.Namespace) -> list[Size]:
    """All combinations, the smallest first."""
    combined = product(given.rows, given.groups, given.labels)
    sizes = [
        Size(labels, groups, rows, given.features, given.entities, given.keys, given.ttl, given.hot)
        for rows, groups, labels in combined
    ]
    return sorted(sizes, key=lambda size: size.work)


def _compare(
    ways: Sequence[Way], folder: Path, size: Size, rounds: int, limits: Limits, feast: Path | None
) -> tuple[dict[Way, list[Run] | str], dict[Way, str]]:
    """The runs of each way, or why there are none, and how its result compares with that of ours."""
    runs: dict[Way, list[Run]] = {way: [] for way in ways}
    reasons: dict[Way, str] = {}
    differs: dict[Way, str] = {}
    expected = None
    for number in range(rounds):
        for way in ways:
            if way in reasons:
                continue
            done = run(way, folder, limits, feast)
            print(f"  {way.name}: {done if isinstance(done, str) else f'{done.seconds:.2f} s'}", file=sys.stderr)
            if isinstance(done, str):
                reasons[way] = done
                continue
            runs[way].append(done)
            if number == 0 and expected is not None and way.kind != "sort":
                found = differing(expected, sample(folder, size.labels, expected))
                differs[way] = f"{found:,} of {expected.height:,}"
            elif number == 0 and way.kind == "ours":
                expected = sample(folder, size.labels)
    return {way: reasons.get(way) or runs[way] for way in ways}, differs


def _conclude(points: Sequence[Point], cores: int, plot_file: Path | None) -> None:
    """How time grows, and what the cost model says."""
    if len(points) < _LEAST_RUNS:
        return
    *smaller, largest = sorted(points, key=lambda point: point.size.work)
    print(f"\nCPU seconds of ours grow with (labels + rows) ** {slope(points):.2f}")
    model = CostModel.fitted(smaller, cores)
    expected, cpu = model.seconds(largest.size, 1, cores), model.cpu(largest.size)
    print(f"cost model, fitted to {len(smaller)} smaller runs: {model}")
    print(
        f"checked with the largest, {largest.size}: {cpu:.2f} CPU s expected, {largest.cpu:.2f} measured "
        f"({cpu / largest.cpu - 1:+.0%}); {expected:.2f} s expected, {largest.seconds:.2f} measured"
    )
    for size in dict.fromkeys([largest.size, _LARGE]):
        times = (f"{model.seconds(size, nodes, cores):,.0f} s on {nodes}" for nodes in (1, 10, 100))
        whole = model.seconds(size, 100, cores, hot_is_split=False)
        print(
            f"{size}: {', '.join(times)} nodes of {cores} cores ({whole:,.0f} s on 100 if one task has to join all "
            "labels of the entity with most of them)"
        )
    if plot_file is not None:
        plot_file.write_text(plot(points, "a training dataset"))
        print(f"plot: {plot_file}")


def _arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, one round, unless others are given")
    quick = "--quick" in (sys.argv[1:] if argv is None else argv)
    labels, rows = ([5_000, 15_000, 30_000], [60_000]) if quick else ([100_000, 300_000, 1_000_000], [2_000_000])
    parser.add_argument("--labels", type=int, nargs="+", default=labels)
    parser.add_argument("--groups", type=int, nargs="+", default=[1, 2] if quick else [1, 3])
    parser.add_argument("--rows", type=int, nargs="+", default=rows, help="rows per group")
    parser.add_argument("--features", type=int, default=10, help="features per group")
    parser.add_argument("--entities", type=int, default=20_000 if quick else 200_000)
    parser.add_argument("--keys", choices=["string", "integer"], default="string")
    parser.add_argument("--ttl", type=int, default=7, help="days that a row may be used; 0: for ever")
    parser.add_argument("--hot", type=float, default=0.05, help="the share of labels and rows of one entity")
    parser.add_argument("--rounds", type=int, default=1 if quick else 3)
    parser.add_argument("--peers", choices=["largest", "all"], default="largest", help="the sizes of others' joins")
    parser.add_argument("--memory", type=int, default=JOIN_MEMORY >> 20, help="the bound of ours, in MB")
    parser.add_argument("--most", type=int, default=12_000, help="MB at which a way is ended")
    parser.add_argument("--seconds", type=float, default=60 if quick else 900, help="after which a way is ended")
    parser.add_argument("--only", nargs="+", help="ways whose names begin so")
    parser.add_argument("--plot", type=Path, help="an SVG of time over labels + rows")
    parser.add_argument("--folder", type=Path, help="where there is room for data and results")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
