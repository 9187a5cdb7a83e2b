"""Late rows: what came into a source after the partitions it belongs to were computed, found by the source's snapshots.

The group's table remembers, as properties, up to which snapshot of each source its partitions are right (the cursor),
and which of them late rows have touched since. The run of the newest partition moves the cursor: what came since then
and belongs to its own span it has computed; of the rest it notes the spans, to be computed again. A run that computes
one takes it off the list.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.manifest import DataFile, ManifestContent, ManifestEntryStatus, ManifestFile
from pyiceberg.table import FileScanTask, Table
from pyiceberg.table.snapshots import Operation, Snapshot, ancestors_of

from feature_store.compile.span import Span
from feature_store.offline.tables import FIRST_TIMESTAMP
from feature_store.plan.nodes import GroupPlan, WindowedRows

SOURCES = "feature-store.sources"
"""Table property: by source, the snapshot up to which all partitions are right (JSON)."""
LAST_TIMESTAMP = "feature-store.last-timestamp"
"""Table property: the greatest feature timestamp (microseconds) that was ever computed."""
LATE = "feature-store.late"
"""Table property: the spans that late rows have touched (JSON, microseconds)."""

Bounds = tuple[int, int]
"""Feature timestamps with `after < T <= until` (microseconds), whole partitions."""


@dataclass(frozen=True)
class Reading:
    """What a run reads from sources that are Iceberg tables.

    Args:
        snapshots: by source, the snapshot that is read.
        cursor: by source, the snapshot up to which all partitions were right when the run began; None if none was.
        late: the spans before the run's own that rows between the two touch; None if the run is not the newest, so that
            the cursor stays.
        unknown: the sources of which nobody can tell, because the snapshot at the cursor has been expired.
    """

    snapshots: Mapping[str, int]
    cursor: Mapping[str, int] | None
    late: tuple[Bounds, ...] | None
    unknown: tuple[str, ...] = ()


def read_sources(catalog: Catalog, table: Table, plan: GroupPlan, span: Span) -> Reading:
    """What a run of a span is to read, and which earlier partitions have to be computed again because of it."""
    tables = dict(_source_tables(catalog, plan))
    snapshots = {name: snapshot.snapshot_id for name, (_, snapshot) in tables.items()}
    recorded, last = table.properties.get(SOURCES), table.properties.get(LAST_TIMESTAMP)
    cursor: dict[str, int] | None = None if recorded is None else json.loads(recorded)
    if last is not None and span.until <= int(last):
        return Reading(snapshots, cursor, None)
    late: list[Bounds] = []
    unknown: list[str] = []
    begin = int(table.properties.get(FIRST_TIMESTAMP, 0))
    for source in plan.sources:
        if source.name not in tables or cursor is None or source.name not in cursor:
            continue
        times = _arrived(*tables[source.name], source.event_timestamp, cursor[source.name])
        if times is None:
            unknown.append(source.name)
        else:
            late += _touched(plan, begin, span.after, times)
    return Reading(snapshots, cursor, tuple(_merged(late)), tuple(unknown))


def noted(properties: Mapping[str, str], reading: Reading, span: Span) -> dict[str, str]:
    """The properties of a group's table once a run has published its span."""
    if not reading.snapshots:
        return {}
    late = late_spans(properties)
    recorded = json.loads(properties.get(SOURCES, "null"))
    if recorded in (reading.cursor, reading.snapshots):  # else another run has seen rows that this one has not
        late = [rest for bounds in late for rest in _without(bounds, span)]
    changed = {LAST_TIMESTAMP: str(max(span.until, int(properties.get(LAST_TIMESTAMP, span.until))))}
    if reading.late is not None:
        late += reading.late
        changed[SOURCES] = json.dumps(dict(reading.snapshots))
    if late or LATE in properties:
        changed[LATE] = json.dumps(list(_merged(late)))
    return {name: value for name, value in changed.items() if properties.get(name) != value}


def late_spans(properties: Mapping[str, str]) -> list[Bounds]:
    """The spans that late rows have touched and that have not been computed again yet."""
    return [(after, until) for after, until in json.loads(properties.get(LATE, "[]"))]


def _source_tables(catalog: Catalog, plan: GroupPlan) -> Iterator[tuple[str, tuple[Table, Snapshot]]]:
    for source in plan.sources:
        if source.table is None:
            continue
        try:
            table = catalog.load_table(source.table)
        except (NoSuchTableError, NoSuchNamespaceError):
            continue  # reading it will say so
        snapshot = table.current_snapshot()
        if snapshot is not None:
            yield source.name, (table, snapshot)


def _arrived(table: Table, now: Snapshot, column: str, since: int) -> NDArray[np.int64] | None:
    """The event times (microseconds) of rows that came into a source, or went, since a snapshot.

    None if nobody can tell: the snapshot is gone, or rows were deleted by delete files.
    """
    files: list[DataFile] = []
    for snapshot in ancestors_of(now, table.metadata):
        if snapshot.snapshot_id == since:
            return _times(table, column, files)
        if snapshot.summary is not None and snapshot.summary.operation == Operation.REPLACE:
            continue  # it changed no row
        for manifest in snapshot.manifests(table.io):
            if manifest.added_snapshot_id != snapshot.snapshot_id:
                continue
            if manifest.content == ManifestContent.DELETES:
                return None
            files += _changed_files(table, manifest)
    return None


def _times(table: Table, column: str, files: Iterable[DataFile]) -> NDArray[np.int64]:
    scan = ArrowScan(table.metadata, table.io, table.schema().select(column), AlwaysTrue())
    rows = scan.to_table([FileScanTask(file) for file in files])
    times = pc.drop_null(rows[column]).cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    return np.unique(times.to_numpy())


def _changed_files(table: Table, manifest: ManifestFile) -> Iterator[DataFile]:
    """The files that the snapshot of a manifest added or removed."""
    for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=False):
        if entry.status != ManifestEntryStatus.EXISTING:
            yield entry.data_file


def _touched(plan: GroupPlan, begin: int, end: int, times: NDArray[np.int64]) -> Iterator[Bounds]:
    """The partitions with a feature timestamp in `[begin, end]` whose value the events of some times can alter."""
    size, slide = plan.group.partition_size, plan.slide
    entered = times - times % slide + slide
    longest = _reach(plan)
    left = np.full_like(entered, end) if longest is None else np.minimum(entered + longest, end)
    entered = np.maximum(entered, begin)
    counts = entered <= left
    starts, ends = (entered[counts] - 1) // size * size, -(-left[counts] // size) * size
    return _merged(zip(starts.tolist(), ends.tolist(), strict=True))


def _reach(plan: GroupPlan) -> int | None:
    """How long after it entered an event can alter values; None is for ever."""
    rows = plan.rows
    if not isinstance(rows, WindowedRows) or any(aggregate.session for aggregate in rows.aggregates):
        return None
    return rows.windows[-1]


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
