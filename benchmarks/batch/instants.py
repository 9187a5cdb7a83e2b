"""Where the ways to compute windows meet: directly from the events, by frames over tiles, by the kernel over tiles.

Run: .fs/venv/bin/python -m benchmarks.batch.instants   (a running stack, ./fs up --no-dagster; some minutes)
     [--users 20000] [--rounds 3]

The rows of 1 to 16 midnights, of windows of 7, 30 and 90 days, from few events (a tenth of one for each user and day)
and from many (two of them), and from a small source, where the start of Python workers counts. Which way is taken
follows from two numbers: `DIRECT_INSTANTS` of `feature_store.compile.spark_direct` and `SLID_FROM` of
`feature_store.offline.sliding`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from benchmarks.batch.setting import Load, plan_over, timed
from feature_store.compile import spark_direct
from feature_store.compile.spark import compile_spark, events_after
from feature_store.offline.session import spark_session
from feature_store.offline.sliding import slid_rows
from feature_store.offline.sources import open_source
from feature_store.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

DAYS = 150
INSTANTS = (1, 2, 4, 8, 16)
PER_USER_AND_DAY = (0.1, 2.0)
SMALL = (10_000, 100_000, 1_000_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    settings = Settings.load()
    with tempfile.TemporaryDirectory(dir=settings.home) as name, spark_session(settings, "benchmark") as spark:
        for rate in PER_USER_AND_DAY:
            load = Load(int(given.users * DAYS * rate), given.users, DAYS)
            print(f"{load}: seconds, median of {given.rounds}")
            print(f"  {'midnights':>10} {'directly':>10} {'frames':>10} {'kernel':>10}")
            for instants in INSTANTS:
                compare(spark, settings, Path(name) / f"{rate}", load, instants, given.rounds)
        for events in SMALL:
            load = Load(events, max(100, events // 100), DAYS)
            print(f"{load}: seconds, median of {given.rounds}")
            compare(spark, settings, Path(name) / f"small_{events}", load, 30, given.rounds)


def compare(spark: SparkSession, settings: Settings, folder: Path, load: Load, instants: int, rounds: int) -> None:
    """The three ways in turns over the same files."""
    if not folder.exists():
        load.write(folder)
    plan, span = plan_over(folder), load.span(instants)
    open_source(spark, settings, plan.sources[0], plan.keys, events_after(plan, span), span.until)
    with mock.patch.object(spark_direct, "DIRECT_INSTANTS", instants):
        directly = compile_spark(plan, span)
    with mock.patch.object(spark_direct, "DIRECT_INSTANTS", 0):
        frames = compile_spark(plan, span)
        slid = slid_rows(spark, plan, span)
    ways = {"directly": spark.sql(directly), "frames": spark.sql(frames), "kernel": slid}
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds + 1):  # the first one warms up
        for way, rows in ways.items():
            times[way].append(timed(partial(_compute, rows)))
    medians = [statistics.median(seconds[1:]) for seconds in times.values()]
    print(f"  {instants:>10} " + " ".join(f"{median:>10.2f}" for median in medians), flush=True)


def _compute(rows: DataFrame) -> None:
    rows.write.format("noop").mode("overwrite").save()


if __name__ == "__main__":
    main()
