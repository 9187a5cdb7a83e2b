"""How fast a training dataset is made, beside reading and sorting the same columns and other as-of joins.

Run: .fs/venv/bin/python -m benchmarks.training                      (100,000 and 1 M labels x 3 groups; a few minutes)
     .fs/venv/bin/python -m benchmarks.training --labels 5000000 20000000 --groups 1 3 5 --rows 10000000
     .fs/venv/bin/python -m benchmarks.training --labels 100000000 --groups 5 --features 3 --keys integer --only ours

Labels in a Parquet file are joined with groups in Iceberg tables partitioned by day and bucket (15 days, one row in
200 written again, ttl 7 days); one entity has 5 % of the labels and of each group's rows. In turns, each in a process
of its own that starts with nothing read:

- ours: labels checked and hashed, files planned, joined, written as Parquet in the order of the labels, with a record;
- read and sort: the columns of the groups read and sorted by key and time, by DuckDB and by Polars: what a join by
  sorting has to do at least, without labels and without a result;
- DuckDB ASOF and Polars join_asof: the same join with all labels in memory, its result written as Parquet.

Of every way the table has the medians of seconds on the clock and on the processors (which tell more on a busy
machine), both also as multiples of the better of "read and sort", of the peak memory, of the bytes that are read of the
groups' files, and the rows that come out; the results of the joins are compared value by value.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.training.made import Size, make
from benchmarks.training.ways import WAYS
from feature_store.settings import JOIN_MEMORY

JOINS = ("DuckDB ASOF", "Polars join_asof")
SORTS = ("read and sort, DuckDB", "read and sort, Polars")
MOST_COMPARED = 1_000_000
"""With more labels the results of two joins do not fit in memory beside each other."""


def main() -> None:
    given = _arguments()
    print(f"{os.cpu_count()} cores, {given.rounds} rounds, a bound of {given.memory} MB", flush=True)
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        for groups in given.groups:
            for labels in given.labels:
                size = Size(labels, groups, given.rows, given.features, given.entities, given.keys)
                make(Path(name), size)
                _compare(Path(name), size, given)


def _compare(folder: Path, size: Size, given: argparse.Namespace) -> None:
    print(
        f"\n{size.labels:,} labels, {size.groups} groups of {size.rows:,} rows and {size.features} features, "
        f"{size.entities:,} {size.keys} keys"
    )
    ways = [way for way in WAYS if given.only is None or way in given.only]
    measured: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    differing = []
    for number in range(given.rounds):
        for way in ways:
            if way == "ours":
                shutil.rmtree(folder / "ours", ignore_errors=True)
            measured[way].append(_run(way, folder, given.memory << 20))
            if number == 0 and way in JOINS and "ours" in ways and size.labels <= MOST_COMPARED:
                differing += [] if _equal(folder) else [way]
    _print(size, measured)
    shutil.rmtree(folder / "ours", ignore_errors=True)
    if differing:
        raise SystemExit(f"another result than ours: {', '.join(differing)}")


def _run(way: str, folder: Path, memory: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.training.ways", way, str(folder), str(memory)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def _equal(folder: Path) -> bool:
    ours = pl.scan_parquet(folder / "ours" / "*" / "*.parquet").collect()
    other = pl.scan_parquet(folder / "result.parquet").select(ours.columns).sort("number").collect()
    return ours.equals(other.cast(dict(ours.schema)))


def _print(size: Size, measured: dict[str, list[dict[str, Any]]]) -> None:
    medians = {
        way: {
            name: statistics.median(run[name] for run in runs) for name in ("seconds", "cpu", "peak", "rows", "bytes")
        }
        for way, runs in measured.items()
    }
    sorts = [of for way, of in medians.items() if way in SORTS]
    floor = {name: min((of[name] for of in sorts), default=float("nan")) for name in ("seconds", "cpu")}
    heads = {"s": 8, "x sort": 7, "CPU s": 8, "x sort ": 7, "labels/s": 11, "peak MB": 8, "read MB": 8}
    print(f"{'':22}", *(f"{head.strip():>{width}}" for head, width in heads.items()), " rows out")
    for way, of in medians.items():
        print(
            f"{way:22} {of['seconds']:8.2f} {of['seconds'] / floor['seconds']:7.2f} {of['cpu']:8.2f} "
            f"{of['cpu'] / floor['cpu']:7.2f} {size.labels / of['seconds']:11,.0f} {of['peak'] / 1e6:8,.0f} "
            f"{of['bytes'] / 1e6:8,.0f}  {of['rows']:,.0f}",
            flush=True,
        )


def _arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--groups", type=int, nargs="+", default=[3])
    parser.add_argument("--rows", type=int, default=2_000_000, help="rows per group")
    parser.add_argument("--features", type=int, default=10, help="features per group")
    parser.add_argument("--entities", type=int, default=200_000)
    parser.add_argument("--keys", choices=["string", "integer"], default="string")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=int, default=JOIN_MEMORY >> 20, help="the bound of ours, in MB")
    parser.add_argument("--only", nargs="+", choices=list(WAYS), help="these ways")
    parser.add_argument("--folder", type=Path, help="where there is room for data and results")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
