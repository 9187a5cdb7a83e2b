"""The floor: the groups' columns read and sorted by key and time, without labels and without a result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from benchmarks.training.setting import Setting, columns_of, connected


def by_duckdb(folder: Path, memory: int) -> Callable[[], int]:
    setting, connection = Setting(folder), connected(folder, 2 * memory)

    def run() -> int:
        rows = 0
        for group in setting.groups:
            connection.execute(
                f"create or replace temp table t as select {', '.join(columns_of(group))} "
                f"from read_parquet({setting.files[group.name]!r}) order by {setting.key}, feature_timestamp"
            )
            counted = connection.execute("select count(*) from t").fetchone()
            assert counted is not None
            rows += int(counted[0])
        return rows

    return run


def by_polars(folder: Path, memory: int) -> Callable[[], int]:  # noqa: ARG001 - it knows no bound
    setting = Setting(folder)

    def run() -> int:
        rows = 0
        for group in setting.groups:
            columns = columns_of(group)
            rows += pl.scan_parquet(setting.files[group.name]).select(columns).sort(columns[:2]).collect().height
        return rows

    return run
