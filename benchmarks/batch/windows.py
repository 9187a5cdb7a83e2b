"""How fast windows of 7, 30 and 90 days are computed, beside SQL written by hand in Spark and in DuckDB.

Run: .fs/venv/bin/python -m benchmarks.batch.windows   (a running stack, ./fs up --no-dagster; some minutes)
     [--events 20000000] [--users 200000] [--days 181] [--backfill 90] [--rounds 3]

20 M events of 200,000 users lie in Parquet files. A group has 12 features: count, sum, min, max over three windows.

- one day: the partition of one midnight. By hand: one GROUP BY with a FILTER for each window, for every user seen in
  90 days; in DuckDB the same text, which is the floor.
- backfill: 90 midnights in one job. By hand: window functions over users' days, which misses the changes at which an
  order leaves a window; in DuckDB every change point, the same rows as the group's, which is the floor.
- incremental day: the next midnight into the table that the backfill has filled.

Each is computed alone, its rows written as Parquet, and as the run that Dagster does: input counted, computed, written
to a branch of the Iceberg table, looked at, published. The group's rows are compared with DuckDB's by
their number and the sums of all features.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.batch.setting import (
    Load,
    by_hand_of_a_day,
    by_hand_of_days,
    change_points_in_duckdb,
    digest,
    in_duckdb,
    plan_over,
    show,
    timed,
)
from feature_store.compile.span import Span
from feature_store.dtypes import from_micros
from feature_store.duration import DAY
from feature_store.offline.catalog import open_catalog
from feature_store.offline.materialize import compute_rows, materialize_span
from feature_store.offline.session import spark_session
from feature_store.plan.nodes import GroupPlan
from feature_store.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def main() -> None:
    load, backfilled, rounds = _arguments()
    settings = Settings.load()
    with tempfile.TemporaryDirectory(dir=settings.home) as name, spark_session(settings, "benchmark") as spark:
        folder = Path(name)
        made = timed(lambda: load.write(folder / "events"))
        print(f"{load}, {load.parts} files (made in {made:.0f} s)", flush=True)
        plan = plan_over(folder / "events", f"batch_benchmark_{datetime.now(UTC):%H%M%S}")
        bench = Bench(spark, settings, folder, plan)
        try:
            print("one day")
            bench.compare_day(load.span(1, before=1), rounds)
            print(f"backfill of {backfilled} days")
            bench.compare_days(load.span(backfilled, before=1), max(1, rounds - 1))
            print("incremental day")
            bench.show_run(load.span(1), 1)
        finally:
            open_catalog(settings).drop_table(plan.schema.table)


class Bench:
    """The candidates, over the same files."""

    def __init__(self, spark: SparkSession, settings: Settings, folder: Path, plan: GroupPlan) -> None:
        self.spark, self.settings, self.folder, self.plan = spark, settings, folder, plan
        self.files = f"read_parquet('{folder}/events/*.parquet')"
        self.spark.read.parquet(f"{folder}/events").createOrReplaceTempView("by_hand")

    def compare_day(self, span: Span, rounds: int) -> None:
        until = f"TIMESTAMP '{from_micros(span.until):%Y-%m-%d %H:%M:%S}'"
        self._compare(
            span,
            rounds,
            by_hand=by_hand_of_a_day("by_hand", until),
            floor=by_hand_of_a_day(self.files, until.replace("TIMESTAMP", "TIMESTAMPTZ")),
            same_rows=False,
        )

    def compare_days(self, span: Span, rounds: int) -> None:
        days = (span.after // DAY + 1, span.until // DAY)
        self._compare(
            span,
            rounds,
            by_hand=by_hand_of_days("by_hand", days, f"unix_micros(ts) DIV {DAY}"),
            floor=change_points_in_duckdb(self.files, days),
            same_rows=True,
        )

    def show_run(self, span: Span, rounds: int, beside: float | None = None) -> None:
        """The runs of a span, one after the other; the first one of a table fills it."""
        start, end = from_micros(span.after), from_micros(span.until)
        catalog = open_catalog(self.settings)
        runs = [materialize_span(self.spark, self.settings, catalog, self.plan, start, end) for _ in range(rounds)]
        show("the run", [run.seconds for run in runs], beside, f"{runs[-1].profile.rows:,} rows")

    def _compare(self, span: Span, rounds: int, *, by_hand: str, floor: str, same_rows: bool) -> None:
        times: dict[str, list[float]] = {}
        with compute_rows(self.spark, self.settings, self.plan, span, {}) as computed:
            candidates: dict[str, Callable[[], None]] = {
                "floor: DuckDB": lambda: self._in_duckdb(floor),
                "Spark SQL by hand": lambda: self._in_spark(self.spark.sql(by_hand)),
                "the group's rows": lambda: self._in_spark(computed.rows),
            }
            for _ in range(rounds):
                for name, run in candidates.items():
                    times.setdefault(name, []).append(timed(run))
        least = statistics.median(times["floor: DuckDB"])
        for name, seconds in times.items():
            show(name, seconds, least)
        if same_rows:
            self._check()
        self.show_run(span, rounds, least)

    def _in_spark(self, rows: DataFrame) -> None:
        rows.write.mode("overwrite").parquet(f"{self.folder}/by_spark")

    def _in_duckdb(self, statement: str) -> None:
        with in_duckdb() as connection:
            connection.execute(f"COPY ({statement}) TO '{self.folder}/by_duckdb.parquet' (COMPRESSION snappy)")

    def _check(self) -> None:
        """Compares what Spark has written last with what DuckDB has."""
        with in_duckdb() as connection:
            written = [f"'{self.folder}/{path}'" for path in ("by_spark/*.parquet", "by_duckdb.parquet")]
            found, wanted = (connection.execute(digest(f"SELECT * FROM {path}")).fetchone() or () for path in written)
        same = len(found) == len(wanted) and all(map(lambda a, b: math.isclose(a, b, rel_tol=1e-9), found, wanted))
        print(f"  rows equal: {'yes' if same else f'NO: {found} and {wanted}'}", flush=True)
        if not same:
            raise SystemExit(1)


def _arguments() -> tuple[Load, int, int]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000_000)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--days", type=int, default=181)
    parser.add_argument("--backfill", type=int, default=90)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    return Load(given.events, given.users, given.days), given.backfill, given.rounds


if __name__ == "__main__":
    main()
