"""Groups over the same rows that one run computes: the tiles made once for all of them, beside each for itself.

Run: .fs/venv/bin/python -m benchmarks.batch.shared   (a running stack, ./fs up --no-dagster; some minutes)
     [--events 10000000] [--users 100000] [--days 181] [--backfill 10] [--groups 3] [--rounds 3]

Each group has 12 features: count, sum, min, max over 7, 30 and 90 days. The runs are those that Dagster does, without
the audit: input counted, computed, written to a branch of the Iceberg table, looked at, published. Both ways in turns,
into new tables; the number of rows has to be the same.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.batch.setting import Load, plan_over, show, timed
from feature_store.compile.span import Span
from feature_store.dtypes import from_micros
from feature_store.offline.catalog import open_catalog
from feature_store.offline.materialize import Materialization, materialize_span
from feature_store.offline.session import spark_session
from feature_store.offline.shared_tiles import SharedTiles
from feature_store.plan.nodes import GroupPlan
from feature_store.plan.sharing import sharing_groups
from feature_store.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def main() -> None:
    given = _arguments()
    load, settings = Load(given.events, given.users, given.days), Settings.load()
    span = load.span(given.backfill)
    with tempfile.TemporaryDirectory(dir=settings.home) as name, spark_session(settings, "benchmark") as spark:
        events = Path(name) / "events"
        load.write(events)
        print(f"{load}; {given.groups} groups, {given.backfill} days", flush=True)
        _round(spark, settings, _plans(events, given.groups), span, share=False)  # starts everything up
        alone: list[list[float]] = []
        shared: list[list[float]] = []
        for _ in range(given.rounds):
            for times, share in ((alone, False), (shared, True)):
                times.append(_round(spark, settings, _plans(events, given.groups), span, share=share))
        every = [sum(times) for times in alone]
        show("each for itself", every)
        show("tiles shared", [sum(times) for times in shared], statistics.median(every))
        for number in range(given.groups):
            beside = statistics.median(times[number] for times in alone)
            show(f"tiles shared, group {number + 1}", [times[number] for times in shared], beside)


def _plans(events: Path, groups: int) -> list[GroupPlan]:
    return [plan_over(events, f"shared_benchmark_{datetime.now(UTC):%H%M%S%f}") for _ in range(groups)]


def _round(
    spark: SparkSession, settings: Settings, plans: Sequence[GroupPlan], span: Span, *, share: bool
) -> list[float]:
    """How long the run of each group takes (seconds)."""
    (together,), catalog = sharing_groups(plans), open_catalog(settings)
    tiles = SharedTiles(spark, settings, together) if share else None
    start, end = from_micros(span.after), from_micros(span.until)
    done: list[Materialization] = []

    def compute(plan: GroupPlan) -> None:
        done.append(materialize_span(spark, settings, catalog, plan, start, end, shared=tiles))

    seconds = [timed(partial(compute, plan)) for plan in together]
    for plan in plans:
        catalog.drop_table(plan.schema.table)
    if len({one.profile.rows for one in done}) != 1 or any(bool(one.shared) != share for one in done):
        raise SystemExit("the groups differ, or were not computed as they should have been")
    return seconds


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=181)
    parser.add_argument("--backfill", type=int, default=10)
    parser.add_argument("--groups", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
