"""Late rows: what came into a source after the partitions it belongs to were computed.

The group's table remembers, as properties, up to which state of each source its partitions are right (the cursor), and
which of them late rows have touched since. The run of the newest partition moves the cursor: what came since then and
belongs to its own span it will compute; of the rest it notes the spans, to be computed again. A run that computes one
takes it off the list. The cursor is read before the rows: what comes in between may be computed, and is seen by the
next run.

The event log of a stream is such a source, and the reconcile such a run. Partitions that the stream wrote and no run
has computed yet are noted, too: a reconcile that failed is as good as none. So are partitions that the stream wrote
again after their reconcile, as a job does that was days behind, or that went on from an old state: its rows are newer
than the reconciled ones and lack what came too late for it. For that the group's own table is looked at as a source is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from feature_store.compile.span import Span
from feature_store.dsl.source import BatchSource
from feature_store.offline.arrivals.arrivals import Arrivals, Cursor
from feature_store.offline.snapshots import EMPTY, FLINK_JOB, arrived_by, cursor_of, source_tables, time_bounds
from feature_store.offline.tables import FIRST_TIMESTAMP
from feature_store.plan.nodes import GroupPlan, WindowedRows
from feature_store.plan.schema import FEATURE_TIMESTAMP

SOURCES = "feature-store.sources"
"""Table property: by where a source is, the cursor up to which all partitions are right (JSON). Names may change."""
LAST_TIMESTAMP = "feature-store.last-timestamp"
"""Table property: the greatest feature timestamp (microseconds) that was ever computed."""
LATE = "feature-store.late"
"""Table property: the spans that late rows have touched (JSON, microseconds)."""

_STREAMED = "rows of the stream"
"""In the place of a source's location: the group's own table, of which only the commits of its stream count."""

Bounds = tuple[int, int]
"""Feature timestamps with `after < T <= until` (microseconds), whole partitions."""


@dataclass(frozen=True)
class Reading:
    """What a run reads from its sources.

    Args:
        snapshots: by source, of those that are Iceberg tables, the snapshot that is read.
        cursor: by location of a source, up to where all partitions were right when the run began; None if nothing was
            noted.
        seen: by location of a source, up to where this run has looked; if it is not the newest, only at snapshots.
        late: the spans before the run's own that rows between the two touch; None if the run is not the newest, so that
            the cursor stays.
        unknown: the sources of which nobody can tell, as their cursor has no meaning any more, or as they have moved;
            the group itself if nobody can tell what its stream has written.
    """

    snapshots: Mapping[str, int]
    cursor: Mapping[str, Cursor] | None
    seen: Mapping[str, Cursor]
    late: tuple[Bounds, ...] | None
    unknown: tuple[str, ...] = ()


def read_sources(
    catalog: Catalog,
    table: Table,
    plan: GroupPlan,
    span: Span,
    arrived_since: Callable[[BatchSource, Cursor | None], Arrivals],
) -> Reading:
    """What a run of a span is to read, and which earlier partitions have to be computed again because of it.

    Args:
        arrived_since: what has come into a source that has no snapshots, since a cursor.
    """
    tables = dict(source_tables(catalog, plan.sources))
    snapshots = {name: snapshot.snapshot_id for name, (_, snapshot) in tables.items() if snapshot is not None}
    recorded, last = table.properties.get(SOURCES), table.properties.get(LAST_TIMESTAMP)
    cursor: dict[str, Cursor] | None = None if recorded is None else json.loads(recorded)
    if last is not None and span.until <= int(last):
        located = {
            source.location: snapshots.get(source.name, EMPTY) for source in plan.sources if source.name in tables
        }
        if plan.stream is not None:
            located[_STREAMED] = cursor_of(table.current_snapshot())
        return Reading(snapshots, cursor, located, None)
    seen: dict[str, Cursor] = {}
    late = list(_skipped(table, plan, span.after))
    unknown: list[str] = []
    begin = int(table.properties.get(FIRST_TIMESTAMP, 0))
    for source in plan.sources:
        since = cursor.get(source.location) if cursor is not None else None
        if source.name in tables:
            arrivals = arrived_by(*tables[source.name], source.event_timestamp, since, span.after)
        elif source.table is None:
            arrivals = arrived_since(source, since)
        else:
            continue
        seen[source.location] = arrivals.cursor
        if since is not None:
            late += _touched(plan, begin, span.after, arrivals.times)
        if cursor is not None and (since is None or not arrivals.complete):
            unknown.append(source.name)
    if plan.stream is not None:
        since = cursor.get(_STREAMED) if cursor is not None else None
        written = arrived_by(table, table.current_snapshot(), FEATURE_TIMESTAMP, since, span.after + 1, FLINK_JOB)
        seen[_STREAMED] = written.cursor
        late += _partitions(plan.group.partition_size, written.times[:, 0], written.times[:, 1])
        if since is not None and not written.complete:
            unknown.append(plan.group.id)
    return Reading(snapshots, cursor, seen, tuple(_merged(late)), tuple(unknown))


def noted(properties: Mapping[str, str], reading: Reading, span: Span) -> dict[str, str]:
    """The properties of a group's table once a run has published its span."""
    if not reading.seen and reading.cursor is None:
        return {}
    late = late_spans(properties)
    recorded = json.loads(properties.get(SOURCES, "null"))
    if recorded in (reading.cursor, reading.seen):  # else another run has seen rows that this one has not
        late = [rest for bounds in late for rest in _without(bounds, span)]
    changed = {LAST_TIMESTAMP: str(max(span.until, int(properties.get(LAST_TIMESTAMP, span.until))))}
    if reading.late is not None:
        late += reading.late
        changed[SOURCES] = json.dumps(dict(reading.seen))
    if late or LATE in properties:
        changed[LATE] = json.dumps(list(_merged(late)))
    return {name: value for name, value in changed.items() if properties.get(name) != value}


def late_spans(properties: Mapping[str, str]) -> list[Bounds]:
    """The spans that late rows have touched and that have not been computed again yet."""
    return [(after, until) for after, until in json.loads(properties.get(LATE, "[]"))]


def unreconciled_spans(table: Table, plan: GroupPlan, settled: int) -> list[Bounds]:
    """The spans of a streaming group that batch has to compute: what late events have touched, and what it never has.

    Args:
        settled: the instant (microseconds) at which the last partition ends whose events are all there.
    """
    return list(_merged([*late_spans(table.properties), *_skipped(table, plan, settled)]))


def _skipped(table: Table, plan: GroupPlan, end: int) -> Iterator[Bounds]:
    """The partitions before an instant that a stream wrote, after all that batch has ever computed."""
    if plan.stream is None:
        return  # a batch group has no rows that were not computed
    recorded = table.properties.get(LAST_TIMESTAMP)
    last = int(recorded) if recorded is not None else _first_partition(table, plan.group.partition_size)
    if last is not None and last < end:
        yield last, end


def _first_partition(table: Table, size: int) -> int | None:
    """Where the partition of the first row begins (microseconds), by the bounds of files; None if there is none."""
    bounds = (time_bounds(table, task.file, FEATURE_TIMESTAMP) for task in table.scan().plan_files())
    firsts = [first for first, _ in filter(None, bounds)]
    return (min(firsts) - 1) // size * size if firsts else None


def _touched(plan: GroupPlan, begin: int, end: int, times: NDArray[np.int64]) -> Iterator[Bounds]:
    """The partitions with a feature timestamp in `[begin, end]` whose value events in some stretches of time can alter.

    Args:
        times: pairs of a first and a last event time.
    """
    slide = plan.slide
    entered, last = _enters(times[:, 0], slide), _enters(np.minimum(times[:, 1], end), slide)
    longest = _reach(plan)
    left = np.full_like(last, end) if longest is None else np.minimum(last + longest, end)
    entered = np.maximum(entered, begin)
    counts = entered <= left
    return _partitions(plan.group.partition_size, entered[counts], left[counts])


def _partitions(size: int, firsts: NDArray[np.int64], lasts: NDArray[np.int64]) -> Iterator[Bounds]:
    """The partitions of the feature timestamps from each first one to its last one."""
    starts, ends = (firsts - 1) // size * size, -(-lasts // size) * size
    return _merged(zip(starts.tolist(), ends.tolist(), strict=True))


def _enters(times: NDArray[np.int64], slide: int) -> NDArray[np.int64]:
    """The feature timestamps at which events of some times enter."""
    return times - times % slide + slide


def _reach(plan: GroupPlan) -> int | None:
    """How long after it entered an event can alter values; None is for ever."""
    rows = plan.rows
    if not isinstance(rows, WindowedRows) or any(aggregate.session for aggregate in rows.aggregates):
        return None
    longest = rows.windows[-1]
    # the row of another event leaves with it, if it turns out to be a copy
    return longest + rows.source.deduplicate_size if longest is not None and rows.source.event_id else longest


def _merged(spans: Iterable[Bounds]) -> Iterator[Bounds]:
    """Spans in order, those that touch each other as one."""
    current: Bounds | None = None
    for after, until in sorted(spans):
        if current is not None and after <= current[1]:
            current = (current[0], max(current[1], until))
        else:
            if current is not None:
                yield current
            current = (after, until)
    if current is not None:
        yield current


def _without(bounds: Bounds, span: Span) -> Iterator[Bounds]:
    """What a span leaves of another one."""
    after, until = bounds
    if after < span.after:
        yield after, min(until, span.after)
    if until > span.until:
        yield max(after, span.until), until
