"""The ways to join, each run in a process of its own: `python -m benchmarks.training.ways WAY FOLDER MEMORY`.

Prints, as JSON, seconds of the clock and of the processors (all cores), the peak memory beside what the process had
when it began, rows out, and bytes of the groups' columns that it reads.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.parquet as pq

from benchmarks.training.made import TTL, catalog_in, files_of, labels_file, size_in, view_of
from feature_store.pit.dataset import build_in
from feature_store.plan.schema import GroupSchema, ViewSchema


class Setting:
    """What a way is run on."""

    def __init__(self, folder: Path, memory: int) -> None:
        self.folder, self.memory = folder, memory
        self.view: ViewSchema = view_of(size_in(folder))
        self.groups = [viewed.group for viewed in self.view.groups]
        self.catalog = catalog_in(folder)
        self.files = {group.name: files_of(self.catalog, group) for group in self.groups}
        self.labels = labels_file(folder)
        self.result = folder / "result.parquet"

    @property
    def all_bytes(self) -> int:
        """Bytes of all files of the groups."""
        return sum(Path(path).stat().st_size for paths in self.files.values() for path in paths)


def ours(setting: Setting) -> tuple[int, int]:
    dataset = build_in(
        setting.catalog, setting.folder, setting.view, setting.labels, name="ours", memory=setting.memory
    )
    return dataset.row_count, sum(group.size for group in dataset.explanation.groups)


def sorted_by_duckdb(setting: Setting) -> tuple[int, int]:
    rows = 0
    with _duckdb() as connection:
        for group in setting.groups:
            connection.execute(
                f"create or replace temp table t as select {', '.join(_columns(group))} "
                f"from read_parquet({setting.files[group.name]!r}) order by {group.keys[0].name}, feature_timestamp"
            )
            rows += _count(connection, "t")
    return rows, setting.all_bytes


def sorted_by_polars(setting: Setting) -> tuple[int, int]:
    rows = 0
    for group in setting.groups:
        columns = _columns(group)
        rows += pl.scan_parquet(setting.files[group.name]).select(columns).sort(columns[:2]).collect().height
    return rows, setting.all_bytes


def joined_by_duckdb(setting: Setting) -> tuple[int, int]:
    """Rows written again are dropped first by an anti-join of the few that lost: the fastest way that was tried."""
    key = setting.view.keys[0].name
    joined, ctes = f"read_parquet('{setting.labels}')", []
    recent = f"epoch_us(r.feature_timestamp) >= epoch_us(l.label_timestamp) - {TTL}"
    for group in setting.groups:
        name, source = group.name, f"read_parquet({setting.files[group.name]!r})"
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
        connection.execute(
            f"copy (with {', '.join(ctes)} select * from {joined}) to '{setting.result}' (compression snappy)"
        )
    return _rows_in(setting.result), setting.all_bytes


def joined_by_polars(setting: Setting) -> tuple[int, int]:
    key, time_ = setting.view.keys[0].name, "feature_timestamp"
    joined = pl.scan_parquet(setting.labels).sort("label_timestamp")
    for group in setting.groups:
        rows = (
            pl.scan_parquet(setting.files[group.name])
            .select([*_columns(group), "created_timestamp"])
            .sort(time_, "created_timestamp")
            .unique([key, time_], keep="last", maintain_order=True)
            .drop("created_timestamp")
        )
        joined = joined.join_asof(
            rows,
            left_on="label_timestamp",
            right_on=time_,
            by=key,
            tolerance=f"{TTL}us",
            check_sortedness=False,
            coalesce=False,
        ).drop(time_)
    joined.sort("number").sink_parquet(setting.result, compression="snappy")
    return _rows_in(setting.result), setting.all_bytes


WAYS: dict[str, Callable[[Setting], tuple[int, int]]] = {
    "ours": ours,
    "read and sort, DuckDB": sorted_by_duckdb,
    "read and sort, Polars": sorted_by_polars,
    "DuckDB ASOF": joined_by_duckdb,
    "Polars join_asof": joined_by_polars,
}


def _duckdb() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"threads": os.cpu_count() or 1, "preserve_insertion_order": False})


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    found = connection.execute(f"select count(*) from {table}").fetchone()
    assert found is not None
    return int(found[0])


def _columns(group: GroupSchema) -> list[str]:
    return [group.keys[0].name, "feature_timestamp", *(feature.name for feature in group.features)]


def _rows_in(path: Path) -> int:
    return int(pq.read_metadata(path).num_rows)


def _peak() -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024


def main() -> None:
    way, folder, memory = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    setting = Setting(folder, memory)
    before, started, used = _peak(), time.perf_counter(), time.process_time()
    rows, read = WAYS[way](setting)
    seconds, processors = time.perf_counter() - started, time.process_time() - used
    print(json.dumps({"seconds": seconds, "cpu": processors, "peak": _peak() - before, "rows": rows, "bytes": read}))


if __name__ == "__main__":
    main()
