"""How fast a training dataset is made, beside reading and sorting the same columns and beside DuckDB's ASOF join.

Run: .fs/venv/bin/python -m benchmarks.training_join   (a catalog of its own; about a minute)

1 M labels are joined with 3 groups of 10 features (200k entities, 15 days, 2 M rows per group, one in 200 written
again; ttl 7 days), all from Iceberg tables partitioned by day and bucket. In turns:

- training dataset: labels checked and hashed, files planned, joined, written as Parquet in the order of the labels;
- floor: key, time and feature columns of the three tables read and sorted by key and time, by DuckDB and by Polars:
  what a join by sorting has to do at least, without the join and without a result;
- DuckDB ASOF: the same join over the same files with all labels in memory, its result written as Parquet.

The results of the two joins are compared value by value.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog

from feature_store import FLOAT, INT, STRING
from feature_store.duration import DAY, MINUTE
from feature_store.offline.tables import arrow_schema, ensure_table
from feature_store.pit.dataset import TrainingDataset, build_in
from feature_store.pit.planning import open_table
from feature_store.plan.schema import Column, GroupSchema, ViewedSchema, ViewSchema

DAYS = 15
START = 1_735_689_600_000_000  # 2025-01-01
TTL = 7 * DAY
GROUPS, FEATURES = 3, 10
SEED = 20260101
MEASURING_SECONDS = 35  # on a busy machine fewer rounds are measured, but two at least


@dataclass(frozen=True)
class Size:
    """How much is joined: labels, rows per group, distinct keys, and the key's type."""

    labels: int
    rows: int
    entities: int
    key: Column


def main() -> None:
    size, rounds = _arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        catalog = SqlCatalog("fs", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse")
        view = _view(size.key)
        started = time.perf_counter()
        labels = _labels(size)
        for group in _groups(view):
            _fill(catalog, group, size)
        files = {group.name: _files(catalog, group) for group in _groups(view)}
        print(
            f"{size.labels:,} labels, {GROUPS} groups of {size.rows:,} rows and {FEATURES} features, "
            f"{size.key.dtype} keys, {sum(map(len, files.values()))} files, {os.cpu_count()} cores "
            f"(made in {time.perf_counter() - started:.0f} s)"
        )
        _compare(catalog, folder, view, labels, files, rounds)


def _compare(
    catalog: Catalog, folder: Path, view: ViewSchema, labels: pa.Table, files: dict[str, list[str]], rounds: int
) -> None:
    datasets: list[TrainingDataset] = []
    asof = folder / "asof.parquet"
    candidates: dict[str, Callable[[], object]] = {
        "training dataset": lambda: datasets.append(build_in(catalog, folder, view, labels, name="bench")),
        "floor, DuckDB": lambda: _sorted_by_duckdb(view, files),
        "floor, Polars": lambda: _sorted_by_polars(view, files),
        "DuckDB ASOF": lambda: _joined_by_duckdb(view, files, labels, asof),
    }
    times: dict[str, list[float]] = {name: [] for name in candidates}
    end = time.perf_counter() + MEASURING_SECONDS
    for number in range(rounds):
        if number > 1 and time.perf_counter() > end:
            break
        for name, run in candidates.items():
            started = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - started)
    seconds = {name: statistics.median(measured) for name, measured in times.items()}
    floor = min(seconds["floor, DuckDB"], seconds["floor, Polars"])
    for name, measured in times.items():
        print(
            f"{name:18} {seconds[name]:6.2f} s  ({min(measured):.2f} to {max(measured):.2f})  "
            f"{labels.num_rows / seconds[name]:11,.0f} labels/s  {seconds[name] / floor:5.2f} x floor"
        )
    ordered = pq.read_table(asof).sort_by("number")
    same = all(dataset.table.equals(ordered.cast(dataset.table.schema)) for dataset in datasets)
    print(f"results equal: {'yes' if same else 'NO'}")
    if not same:
        raise SystemExit(1)


def _sorted_by_duckdb(view: ViewSchema, files: dict[str, list[str]]) -> None:
    with _duckdb() as connection:
        for group in _groups(view):
            connection.execute(
                f"create or replace temp table t as select {_columns(group)} from read_parquet({files[group.name]!r}) "
                f"order by {group.keys[0].name}, feature_timestamp"
            )


def _sorted_by_polars(view: ViewSchema, files: dict[str, list[str]]) -> None:
    for group in _groups(view):
        columns = _columns(group).split(", ")
        pl.scan_parquet(files[group.name]).select(columns).sort(columns[:2]).collect()


def _joined_by_duckdb(view: ViewSchema, files: dict[str, list[str]], labels: pa.Table, path: Path) -> None:
    """Rows written again are dropped first by an anti-join of the few that lost: the fastest way that was tried."""
    key = view.keys[0].name
    joined, ctes = "labels", []
    recent = f"epoch_us(r.feature_timestamp) >= epoch_us(l.label_timestamp) - {TTL}"
    for group in _groups(view):
        name, source = group.name, f"read_parquet({files[group.name]!r})"
        features = [feature.name for feature in group.features]
        ctes += [
            f"{name}_again as (select {key}, feature_timestamp, max(created_timestamp) as newest from {source} "
            "group by all having count(*) > 1)",
            f"{name}_rows as (select r.{key}, r.feature_timestamp, {', '.join(f'r.{f}' for f in features)} "
            f"from {source} r left join {name}_again a using ({key}, feature_timestamp) "
            "where a.newest is null or r.created_timestamp = a.newest)",
            f"{name}_joined as (select l.*, "
            + ", ".join(f"case when {recent} then r.{f} end as {f}" for f in features)
            + f" from {joined} l asof left join {name}_rows r "
            f"on l.{key} = r.{key} and l.label_timestamp >= r.feature_timestamp)",
        ]
        joined = f"{name}_joined"
    with _duckdb() as connection:
        connection.register("labels", labels)
        connection.execute(f"copy (with {', '.join(ctes)} select * from {joined}) to '{path}' (compression snappy)")


def _duckdb() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"threads": os.cpu_count() or 1, "preserve_insertion_order": False})


def _columns(group: GroupSchema) -> str:
    return ", ".join([group.keys[0].name, "feature_timestamp", *(feature.name for feature in group.features)])


def _view(key: Column) -> ViewSchema:
    def group(number: int) -> GroupSchema:
        features = tuple(Column(f"g{number}_feature_{n}", FLOAT) for n in range(FEATURES))
        return GroupSchema(f"g{number}", 1, (key,), features, TTL, 0, DAY, buckets=16)

    return ViewSchema("bench", 1, tuple(ViewedSchema(group(number)) for number in range(GROUPS)))


def _groups(view: ViewSchema) -> list[GroupSchema]:
    return [viewed.group for viewed in view.groups]


def _labels(size: Size) -> pa.Table:
    random = np.random.default_rng(SEED)
    times = START + random.integers(0, DAYS * DAY, size.labels)
    return pa.table(
        {
            "number": np.arange(size.labels),
            size.key.name: _keys(size, random, size.labels),
            "label_timestamp": pa.array(times, pa.timestamp("us", "UTC")),
            "bought": random.random(size.labels) < 0.1,
        }
    )


def _fill(catalog: Catalog, group: GroupSchema, size: Size) -> None:
    """One commit per day, as a daily group is materialized; one row in 200 is written again an hour later."""
    table = ensure_table(catalog, group)
    random = np.random.default_rng([SEED, int(group.name[1:])])
    count = size.rows // DAYS
    for day in range(DAYS):
        times = START + day * DAY + random.integers(0, DAY, count)
        columns = [_keys(size, random, count), times, times + MINUTE, *(random.random(count) for _ in group.features)]
        rows = pa.table([pa.array(column) for column in columns], arrow_schema(group).names)
        again = rows.slice(0, count // 200)
        later = pa.array(again["created_timestamp"].to_numpy() + 60 * MINUTE)
        again = again.set_column(2, "created_timestamp", later)
        again = again.set_column(3, again.column_names[3], pa.array(random.random(len(again))))
        table.append(pa.concat_tables([rows, again]).cast(arrow_schema(group)))


def _keys(size: Size, random: np.random.Generator, count: int) -> pa.Array:
    numbers = random.integers(0, size.entities, count)
    if size.key.dtype == INT:
        return pa.array(numbers)
    return pa.array([f"user_{number:07}" for number in range(size.entities)]).take(pa.array(numbers))


def _files(catalog: Catalog, group: GroupSchema) -> list[str]:
    tasks = open_table(catalog, group).scan().plan_files()
    return sorted(task.file.file_path.removeprefix("file://") for task in tasks)


def _arguments(argv: Sequence[str] | None = None) -> tuple[Size, int]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=2_000_000, help="rows per group")
    parser.add_argument("--entities", type=int, default=200_000)
    parser.add_argument("--keys", choices=["string", "integer"], default="string")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(argv)
    key = Column("user_id", STRING if given.keys == "string" else INT)
    return Size(given.labels, given.rows, given.entities, key), given.rounds


if __name__ == "__main__":
    main()
