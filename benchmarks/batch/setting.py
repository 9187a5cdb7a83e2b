"""What the batch benchmarks share: events in Parquet files, a group of windows over them, the same by hand."""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_store import FLOAT, INT, STRING, TIMESTAMP, BatchSource, Entity, Feature, FeatureGroup, agg
from feature_store.compile.span import Span
from feature_store.dsl.window import Window
from feature_store.dtypes import to_micros
from feature_store.duration import DAY
from feature_store.plan.build import build_plan
from feature_store.plan.nodes import GroupPlan

START = "2026-01-01"
BEGIN = to_micros(datetime.fromisoformat(START).replace(tzinfo=UTC))
WINDOWS = (7, 30, 90)
CALLS = {"count": "count(*)", "sum": "sum({0}amount)", "min": "min({0}amount)", "max": "max({0}amount)"}
SEED = 20260101
_FILE_ROWS = 1_000_000


@dataclass(frozen=True)
class Load:
    """Events to compute from: how many, of how many users, over how many days; in files in the order of time."""

    events: int
    users: int
    days: int

    def __str__(self) -> str:
        return f"{self.events:,} events of {self.users:,} users in {self.days} days"

    @property
    def end(self) -> int:
        """The instant behind the last event (microseconds)."""
        return BEGIN + self.days * DAY

    def span(self, days: int, *, before: int = 0) -> Span:
        """The feature timestamps of some days, which end so many days before the last event."""
        until = self.end - before * DAY
        return Span(until - days * DAY, until)

    def write(self, folder: Path) -> None:
        """Writes the files; the same load gives the same events."""
        folder.mkdir(parents=True)
        random = np.random.default_rng([SEED, self.events, self.users])
        names = pa.array([f"user_{number}" for number in range(self.users)])
        edges = [self.events * part // self.parts for part in range(self.parts + 1)]
        for number, (first, last) in enumerate(itertools.pairwise(edges)):
            size, width = last - first, self.days * DAY // self.parts
            times = BEGIN + number * width + np.sort(random.integers(0, width, size))
            columns = {
                "user_id": names.take(pa.array(random.integers(0, self.users, size))),
                "amount": pa.array(np.round(random.gamma(2, 20, size), 2)),
                "ts": pa.array(times).cast(pa.timestamp("us", "UTC")),
            }
            pq.write_table(pa.table(columns), folder / f"{number:03d}.parquet")

    @property
    def parts(self) -> int:
        """The number of files."""
        return max(1, self.events // _FILE_ROWS)


def plan_over(path: Path, name: str = "user_orders") -> GroupPlan:
    """A group of 12 features, four aggregates over three windows, at every midnight."""
    group = FeatureGroup(
        name,
        entity=Entity("user", join_key="user_id"),
        source=BatchSource(
            "orders",
            path=f"{path}/*.parquet",
            event_timestamp="ts",
            schema={"user_id": STRING, "amount": FLOAT, "ts": TIMESTAMP},
        ),
        owner="team:benchmarks",
        start=START,
        features=tuple(feature for window in WINDOWS for feature in _features(window)),
    )
    return build_plan(group)


def _features(window: int) -> Iterator[Feature]:
    for call in CALLS:
        column = () if call == "count" else ("amount",)
        dtype = INT if call == "count" else FLOAT
        yield Feature(f"user_{call}_{window}d", getattr(agg, call)(*column), window=Window(window * DAY), dtype=dtype)


def by_hand_of_a_day(files: str, until: str) -> str:
    """The vectors of one midnight as one would write them: for every user seen in the longest window.

    `files` is what to select from; `until` the midnight, as SQL.
    """
    values = ", ".join(
        f"{call.format('').replace('count(*)', 'count(ts)')} FILTER (WHERE ts >= {until} - INTERVAL {window} DAYS) "
        f"AS user_{name}_{window}d"
        for window in WINDOWS
        for name, call in CALLS.items()
    )
    longest = f"ts >= {until} - INTERVAL {WINDOWS[-1]} DAYS AND ts < {until}"
    return f"SELECT user_id, {until} AS feature_timestamp, {values} FROM {files} WHERE {longest} GROUP BY user_id"


def by_hand_of_days(files: str, days: tuple[int, int], day: str) -> str:
    """The vectors of many midnights by window functions as one would write them: of users on days with an order.

    It knows nothing of a window that an order has left, so it has fewer rows than the group.

    Args:
        days: the first and the last midnight, as days since 1970.
        day: the day of an event since 1970, as SQL.
    """
    merged = {"count": "sum(n)", "sum": "sum(total)", "min": "min(low)", "max": "max(high)"}
    values = ", ".join(f"{merged[name]} OVER w{w} AS user_{name}_{w}d" for w in WINDOWS for name in CALLS)
    frames = ", ".join(
        f"w{w} AS (PARTITION BY user_id ORDER BY day RANGE BETWEEN {w - 1} PRECEDING AND CURRENT ROW)" for w in WINDOWS
    )
    return (
        f"WITH days AS (SELECT user_id, {day} AS day, count(*) AS n, sum(amount) AS total, min(amount) AS low, "
        f"max(amount) AS high FROM {files} GROUP BY user_id, {day}), "
        f"vectors AS (SELECT user_id, day, {values} FROM days "
        f"WHERE day >= {days[0] - 1 - WINDOWS[-1]} AND day < {days[1]} WINDOW {frames}) "
        f"SELECT * FROM vectors WHERE day >= {days[0] - 1}"
    )


def change_points_in_duckdb(files: str, days: tuple[int, int]) -> str:
    """The group's rows of many midnights, every change of a vector, as DuckDB can compute them."""
    merged = {"count": "coalesce(sum(n) OVER w{0}, 0)", "sum": "coalesce(sum(total) OVER w{0}, 0)"}
    merged |= {"min": "min(low) OVER w{0}", "max": "max(high) OVER w{0}"}
    values = ", ".join(f"{merged[name].format(w)} AS user_{name}_{w}d" for w in WINDOWS for name in CALLS)
    frames = ", ".join(
        f"w{w} AS (PARTITION BY user_id ORDER BY day RANGE BETWEEN {w - 1} PRECEDING AND CURRENT ROW)" for w in WINDOWS
    )
    leaves = " ".join(
        f"UNION ALL SELECT user_id, day + {w}, NULL, NULL, NULL, NULL FROM tiles WHERE day + {w} >= {days[0]}"
        for w in WINDOWS
    )
    earliest = (days[0] - 1 - WINDOWS[-1]) * DAY
    return (
        f"WITH tiles AS (SELECT user_id, epoch_us(ts) // {DAY} + 1 AS day, count(*) AS n, sum(amount) AS total, "
        f"min(amount) AS low, max(amount) AS high FROM {files} WHERE epoch_us(ts) >= {earliest} "
        f"AND epoch_us(ts) < {days[1] * DAY} GROUP BY ALL), "
        f"points AS (SELECT user_id, day, max(n) AS n, max(total) AS total, min(low) AS low, max(high) AS high "
        f"FROM (SELECT * FROM tiles {leaves}) WHERE day <= {days[1]} GROUP BY ALL), "
        f"vectors AS (SELECT user_id, day, {values} FROM points WINDOW {frames}) "
        f"SELECT * FROM vectors WHERE day >= {days[0]}"
    )


@contextmanager
def in_duckdb() -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with as many threads as Spark has, and UTC."""
    with duckdb.connect() as connection:
        connection.execute(
            f"SET threads = {os.cpu_count()}; SET TimeZone = 'UTC'; SET preserve_insertion_order = false"
        )
        yield connection


def digest(rows: str) -> str:
    """A query of one row over a query's rows: their number and the sum of each feature."""
    sums = ", ".join(f"sum(user_{name}_{window}d)" for window in WINDOWS for name in CALLS)
    return f"SELECT count(*), {sums} FROM ({rows})"


def timed(action: Callable[[], object]) -> float:
    """How long something takes (seconds)."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def show(what: str, seconds: Sequence[float], beside: float | None = None, note: str = "") -> float:
    """Prints times with their spread, and how many times as long they are as another one; gives the median."""
    median = statistics.median(seconds)
    ratio = f"{median / beside:6.2f} x" if beside else " " * 8
    print(f"  {what:34} {median:7.2f} s  ({min(seconds):.2f} to {max(seconds):.2f})  {ratio}  {note}", flush=True)
    return median
