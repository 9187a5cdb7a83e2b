"""A source and a group over it, whose runs are the reference's; each test says how rows come into the source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from feature_store import FLOAT, INT, STRING, TIMESTAMP, BatchSource, Entity, Feature, FeatureGroup, agg
from feature_store.compile.reference import run_reference
from feature_store.compile.reference_events import Row
from feature_store.compile.span import Span
from feature_store.dtypes import to_micros
from feature_store.duration import DAY
from feature_store.offline.arrivals.arrivals import Arrivals, Cursor
from feature_store.offline.late import Bounds, late_spans, noted, read_sources
from feature_store.offline.tables import FIRST_TIMESTAMP, ensure_table
from feature_store.plan.build import build_plan

DAY0 = datetime(2026, 3, 1, tzinfo=UTC)
START = to_micros(DAY0)


def event(user: str, hours: float, amount: float = 1.0) -> Row:
    return {"user_id": user, "amount": amount, "ts": DAY0 + timedelta(hours=hours)}


class Shop:
    """A source and a group over it, whose runs are the reference's."""

    def __init__(self, folder: Path, window: str, **place: str) -> None:
        schema = {"user_id": STRING, "amount": FLOAT, "ts": TIMESTAMP}
        source = BatchSource("orders", event_timestamp="ts", schema=schema, **place)
        self.catalog = SqlCatalog("fs", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse")
        feature = Feature(f"user_n_{window}", agg.count(), window=window, dtype=INT)
        user = Entity("user", join_key="user_id")
        self.plan = build_plan(
            FeatureGroup("user_orders", entity=user, source=source, owner="team:x", ttl=None, features=[feature])
        )
        self.rows: list[Row] = []
        self.stored: dict[int, list[Row]] = {}

    @property
    def table(self) -> Table:
        return ensure_table(self.catalog, self.plan.schema)

    @property
    def late(self) -> list[Bounds]:
        return [((after - START) // DAY, (until - START) // DAY) for after, until in late_spans(self.table.properties)]

    def arrived_since(self, span: Span, source: BatchSource, since: Cursor | None) -> Arrivals:
        """What has come into a source that has no snapshots, before a run of a span."""
        raise AssertionError(f"{source.location} has snapshots")

    def right(self, day: int, first: int) -> list[Row]:
        after = START + day * DAY
        return run_reference(
            self.plan, {self.plan.sources[0].name: self.rows}, Span(after, after + DAY, first=day == first)
        )

    def run(self, first: int, last: int) -> tuple[str, ...]:
        """Computes the days from the first up to the last one; the beginning of history is day 0."""
        with self.running(first, last) as unknown:
            return unknown

    @contextmanager
    def running(self, first: int, last: int) -> Iterator[tuple[str, ...]]:
        """A run that publishes at the end of the block what it read at its beginning."""
        span = Span(START + first * DAY, START + last * DAY, first=first == 0)
        reading = read_sources(self.catalog, self.table, self.plan, span, partial(self.arrived_since, span))
        computed = {day: self.right(day, 0) for day in range(first, last)}
        yield reading.unknown
        self.stored |= computed
        with self.table.transaction() as transaction:
            begin = {FIRST_TIMESTAMP: str(START + DAY)}
            transaction.set_properties(begin | noted(transaction.table_metadata.properties, reading, span))

    def wrong(self) -> set[int]:
        return {day for day, rows in self.stored.items() if rows != self.right(day, 0)}

    def listed(self) -> set[int]:
        return {day for first, last in self.late for day in range(first, last)}

    def compute_listed(self) -> None:
        """Computes what late rows have touched, as the sensor does."""
        for first, last in self.late:
            self.run(first, last)

    def assert_right(self) -> None:
        """What late rows have touched is listed, and nothing is wrong once it was computed."""
        assert self.wrong() <= self.listed()
        self.compute_listed()
        assert self.late == []
        assert self.wrong() == set()
