"""As-of joins of DuckDB and Polars: all labels in memory, the result written as Parquet.

Of rows that were written again the last one counts, and rows older than the ttl do not.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from benchmarks.training.setting import Setting, columns_of, connected, rows_in


def by_duckdb(folder: Path, memory: int) -> Callable[[], int]:
    """Rows written again are dropped first by an anti-join of the few that lost: the fastest way that was tried."""
    setting, connection = Setting(folder), connected(folder, 2 * memory)
    key, joined, ctes = setting.key, f"read_parquet('{setting.labels}')", []
    recent = f"epoch_us(r.feature_timestamp) >= epoch_us(l.label_timestamp) - {setting.size.ttl or 1 << 62}"
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
    result = setting.result()

    def run() -> int:
        connection.execute(
            f"copy (with {', '.join(ctes)} select * from {joined}) to '{result}' (format parquet, compression snappy)"
        )
        return rows_in(result)

    return run


def by_polars(folder: Path, memory: int) -> Callable[[], int]:  # noqa: ARG001 - it knows no bound
    setting = Setting(folder)
    key, time, result = setting.key, "feature_timestamp", setting.result()
    joined = pl.scan_parquet(setting.labels).sort("label_timestamp")
    for group in setting.groups:
        rows = (
            pl.scan_parquet(setting.files[group.name])
            .select([*columns_of(group), "created_timestamp"])
            .sort(time, "created_timestamp")
            .unique([key, time], keep="last", maintain_order=True)
            .drop("created_timestamp")
        )
        joined = joined.join_asof(
            rows,
            left_on="label_timestamp",
            right_on=time,
            by=key,
            tolerance=None if setting.size.ttl is None else f"{setting.size.ttl}us",
            check_sortedness=False,
            coalesce=False,
        ).drop(time)

    def run() -> int:
        joined.sort("number").sink_parquet(result, compression="snappy")
        return rows_in(result)

    return run
