"""How fast Spark computes a streaming group from its event log, beside the stream that catches up with the same events.

Run: .fs/venv/bin/python -m benchmarks.streaming.backfill [--events 1000000] [--users 50000] [--rounds 3]

The events lie in a topic of two partitions. Flink computes the group from there (rows to Kafka and Iceberg; from when
the job runs to its end), then the log's own job writes the event log, and Spark computes the same group from that:

- backfill: `reconcile_span` of the whole day into an empty table: read, computed, profiled, compared, appended;
- statement alone: the same rows computed and thrown away.

At the end `reconcile_span` compares what Flink wrote with what Spark computes: every row has to be the same.
"""

from __future__ import annotations

import argparse
import statistics
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from benchmarks.streaming.flink_runs import bounded, prepare, run
from benchmarks.streaming.setting import START, Load, Workbench, show, workbench
from feature_store.compile.flink import Start
from feature_store.compile.span import Span
from feature_store.compile.spark import compile_spark, events_after
from feature_store.dsl.source import StreamSource
from feature_store.dtypes import to_micros
from feature_store.duration import SECOND
from feature_store.offline.history import Consistency
from feature_store.offline.reconcile import reconcile_span
from feature_store.offline.session import spark_session
from feature_store.offline.sources import open_source
from feature_store.plan.nodes import GroupPlan
from feature_store.streaming.jobs import target_of
from feature_store.streaming.wanted import Wanted

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DAY_BEGIN = datetime.fromisoformat(START).replace(tzinfo=UTC)
DAY_END = DAY_BEGIN + timedelta(days=1)


def main() -> None:
    given = _arguments()
    load = Load(given.events, given.users)
    with workbench() as bench:
        stream = bench.source("clicks")
        bench.preload(stream, load)
        print(f"{load}; five features over 30 min, slide 1 s", flush=True)
        plans = [bench.group(stream, version=number + 1) for number in range(given.rounds)]
        caught_up = [catch_up(bench, plan, load) for plan in plans]  # before there is a log to take over from
        logged = write_log(bench, stream, load)
        backfills, statements = [], []
        with spark_session(bench.store.settings, "benchmark") as spark:
            for number in range(given.rounds):
                plan = bench.group(stream, version=100 + number)
                done, rows = backfill(spark, bench, plan)
                backfills.append(load.events / done)
                statements.append(load.events / statement_alone(spark, bench, plan))
            _, found = reconcile_span(spark, bench.store.settings, bench.store.catalog, plans[0], DAY_BEGIN, DAY_END)
    print("events/s")
    show("Flink, catching up", caught_up, "events/s")
    show("Flink, event log alone", [logged], "events/s")
    show("Spark, backfill", backfills, "events/s", f"{rows:,} rows")
    show("Spark, statement alone", statements, "events/s")
    print(f"  Spark's backfill: {statistics.median(backfills) / statistics.median(caught_up):.2f} times Flink's rate")
    report(found)


def catch_up(bench: Workbench, plan: GroupPlan, load: Load) -> float:
    """The rate of the group's job over the topic."""
    wanted, job = prepare(bench, plan)
    return run(bench, wanted, bounded(job), load).rate


def write_log(bench: Workbench, stream: StreamSource, load: Load) -> float:
    """The rate of the job that writes the event log."""
    wanted = Wanted(stream, None, 10 * SECOND)
    job = wanted.job(target_of(bench.store.settings), Start())
    return run(bench, wanted, bounded(job), load).rate


def backfill(spark: SparkSession, bench: Workbench, plan: GroupPlan) -> tuple[float, int]:
    """The seconds it takes into an empty table, and the rows that are then there."""
    began = time.perf_counter()
    _, found = reconcile_span(spark, bench.store.settings, bench.store.catalog, plan, DAY_BEGIN, DAY_END)
    return time.perf_counter() - began, found.corrected


def statement_alone(spark: SparkSession, bench: Workbench, plan: GroupPlan) -> float:
    """The seconds of computing the rows."""
    span = Span(to_micros(DAY_BEGIN), to_micros(DAY_END), first=True)
    began = time.perf_counter()
    for source in plan.sources:
        open_source(spark, bench.store.settings, source, plan.keys, events_after(plan, span), span.until)
    spark.sql(compile_spark(plan, span)).write.format("noop").mode("overwrite").save()
    return time.perf_counter() - began


def report(found: Consistency) -> None:
    """What comparing Flink's rows with Spark's gave; a difference is the exit code 1."""
    print(
        f"Flink's rows against Spark's: {found.batch:,} computed, {found.stored:,} stored, {found.missing:,} missing, "
        f"{found.extra:,} extra, {found.mismatched:,} different"
    )
    if found.rate < 1.0:
        raise SystemExit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
