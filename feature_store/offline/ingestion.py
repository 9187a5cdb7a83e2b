"""Arrivals in files and Postgres tables: the rows with an ingestion time after a cursor.

Rows are not seen in the order of their ingestion times: a transaction commits after its clock was read, a file is
moved to its place after it was written, many rows have one time. So the cursor also says how many rows of the last
hour or two before it have been seen. As long as they are as many, only rows after the cursor are new; otherwise all of
these rows are looked at again, and a partition that one of them touches may be computed once too often, but no row is
lost. What is lost is a row that becomes visible more than an hour after its ingestion time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from feature_store.dsl.source import BatchSource
from feature_store.duration import HOUR, SECOND
from feature_store.offline.arrivals import NO_TIMES, Arrivals, Cursor
from feature_store.offline.sources import read_times
from feature_store.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class Ingested:
    """A cursor: which rows of a source have been seen.

    Args:
        by: the column of the ingestion time; "" is the files' time of modification.
        until: the greatest ingestion time (microseconds); 0 if there is none.
        recent: the number of rows from `recent_from` on up to it.
        undated: the number of rows without an ingestion time.
    """

    by: str
    until: int
    recent: int
    undated: int

    @property
    def recent_from(self) -> int:
        """Where the full hour before that of `until` begins."""
        return self.until // HOUR * HOUR - HOUR


@dataclass(frozen=True)
class Rows:
    """Rows of a source whose event times are in one partition, and ingestion times in one hour.

    All of them were ingested up to the cursor, or all after it.

    Args:
        latest: the greatest event time (microseconds); None is of rows without one.
        ingested: the greatest ingestion time (microseconds); None is of rows without one.
        count: how many they are.
    """

    latest: int | None
    ingested: int | None
    count: int


def ingested_since(
    spark: SparkSession, settings: Settings, partition_size: int, source: BatchSource, since: Cursor | None
) -> Arrivals:
    """What has come into a source between a cursor and now, by one aggregate of Spark over no earlier rows.

    A row whose ingestion time is still to come has not come in. Not complete if the cursor is of another column, or if
    there are more rows without an ingestion time.

    Raises:
        InputError: if the source is not there, or does not fit its definition.
    """
    by = source.ingestion_timestamp or ""
    seen = Ingested(**since) if isinstance(since, dict) and since["by"] == by else None
    return arrivals(by, _rows(spark, settings, partition_size, source, seen), seen)


def arrivals(by: str, rows: Sequence[Rows], seen: Ingested | None) -> Arrivals:
    """What of some rows has come in since a cursor: they are all from `recent_from` on, and all without a time."""
    dated = [(each.ingested, each) for each in rows if each.ingested is not None]
    undated = sum(each.count for each in rows if each.ingested is None)
    until = max([ingested for ingested, _ in dated], default=0)
    if seen is not None:
        until = max(until, seen.until)
    now = Ingested(by, until, 0, undated)
    recent = sum(each.count for ingested, each in dated if ingested >= now.recent_from)
    cursor = asdict(Ingested(by, until, recent, undated))
    if seen is None:
        return Arrivals(cursor, NO_TIMES, complete=False)
    moved = sum(each.count for ingested, each in dated if ingested <= seen.until) != seen.recent
    times = [each.latest for ingested, each in dated if each.latest is not None and (moved or ingested > seen.until)]
    return Arrivals(cursor, np.array(times, np.int64), complete=undated <= seen.undated)


def _rows(
    spark: SparkSession, settings: Settings, partition_size: int, source: BatchSource, seen: Ingested | None
) -> list[Rows]:
    from pyspark.sql.functions import expr

    bounds = [f"ingested <= timestamp_micros({int(time.time() * SECOND)})"]
    bounds += [f"ingested >= timestamp_micros({seen.recent_from})"] if seen is not None else []
    rows = read_times(spark, settings, source).where(f"ingested IS NULL OR ({' AND '.join(bounds)})")
    micros = rows.selectExpr("unix_micros(at) AS at", "unix_micros(ingested) AS ingested")
    partition, hour = f"at - pmod(at, {partition_size})", f"ingested - pmod(ingested, {HOUR})"
    known = f"ingested <= {seen.until if seen is not None else 0}"
    grouped = micros.groupBy(*map(expr, (partition, hour, known)))
    found = grouped.agg(expr("max(at)"), expr("max(ingested)"), expr("count(*)"))
    return [Rows(*row[-3:]) for row in found.collect()]
