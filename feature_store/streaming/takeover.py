"""Where a stream takes over from batch: the cut, and what it reads to have its windows full from the first row."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError

from feature_store.compile.flink import KAFKA_OFFSET, KAFKA_PARTITION, Start
from feature_store.dsl.source import StreamSource
from feature_store.dtypes import to_micros
from feature_store.duration import DAY
from feature_store.errors import ConflictError
from feature_store.offline.scanning import column_batches
from feature_store.offline.tables import FIRST_TIMESTAMP, ensure_table
from feature_store.plan.nodes import GroupPlan, WindowedRows
from feature_store.streaming.topics import Offsets


def take_over(
    catalog: Catalog,
    plan: GroupPlan,
    kept: Mapping[int, Offsets],
    read_by_log: Mapping[int, int],
    accept_gap: bool = False,
) -> Start:
    """Where the stream of a group begins.

    Rows up to the cut, the last midnight that the event log has passed by the allowed lateness, are batch's; later ones
    are the stream's. The stream fills its windows from a snapshot of the log and reads Kafka from the first message
    that is not in it: no event is missing, none counts twice. With no log yet it reads all that Kafka keeps.

    Args:
        kept: what Kafka keeps of the source's topic.
        read_by_log: of each partition the offset up to which the log's job has read: what lies between the log's last
            event and it were heartbeats and malformed messages.
        accept_gap: whether to begin although messages are neither in the log nor in Kafka any more.

    Raises:
        ConflictError: if the log ends before the topic begins.
    """
    assert plan.stream is not None
    begin = to_micros(datetime.fromisoformat(plan.group.start).replace(tzinfo=UTC))
    log = _read_log(catalog, plan)
    if log is None:
        start = Start(cut=begin)
    else:
        snapshot, newest, next_offsets = log
        cut = max((newest - plan.stream.lateness_size) // DAY * DAY, begin)
        _refuse_gap(plan.stream, kept, next_offsets, read_by_log, accept_gap)
        offsets = {number: max(next_offsets.get(number, 0), place.first) for number, place in kept.items()}
        start = Start(offsets, snapshot, _needed_after(plan, cut), cut, standing=cut == begin)
    if start.cut == begin:
        _remember_first(catalog, plan, begin)
    return start


def _refuse_gap(
    stream: StreamSource,
    kept: Mapping[int, Offsets],
    next_offsets: Mapping[int, int],
    read_by_log: Mapping[int, int],
    accepted: bool,
) -> None:
    """Of a partition that the log knows nothing of, the log's events are taken to be all there were."""
    gaps = []
    for number, place in sorted(kept.items()):
        known = max(next_offsets.get(number, -1), read_by_log.get(number, -1))
        if 0 <= known < place.first:
            gaps.append(f"partition {number}: {known} to {place.first - 1}")
    if gaps and not accepted:
        raise ConflictError(
            f"the event log {stream.log.table} ends before the topic {stream.topic!r} begins: the messages between are "
            f"in neither ({'; '.join(gaps)})",
            where=f"source {stream.name}",
            remedy="append them to the log, or begin without them: ./fs stream start JOB --accept-gap",
            code="log-gap",
        )


def _read_log(catalog: Catalog, plan: GroupPlan) -> tuple[int, int, dict[int, int]] | None:
    """The log's snapshot, its newest event time (microseconds) and the offset after the last of each partition."""
    assert plan.stream is not None
    try:
        table = catalog.load_table(str(plan.stream.log.table))
    except NoSuchTableError:
        return None
    snapshot = table.current_snapshot()
    if snapshot is None:
        return None
    time = plan.stream.event_timestamp
    newest: datetime | None = None
    following: dict[int, int] = {}
    for batch in column_batches(table, (time, KAFKA_PARTITION, KAFKA_OFFSET), snapshot.snapshot_id):
        rows = pa.Table.from_batches([batch])
        for last in rows.group_by(KAFKA_PARTITION).aggregate([(KAFKA_OFFSET, "max")]).to_pylist():
            number, offset = last[KAFKA_PARTITION], last[f"{KAFKA_OFFSET}_max"]
            following[number] = max(following.get(number, 0), offset + 1)
        latest = pc.max(batch[time]).as_py()
        newest = latest if newest is None else max(newest, latest)
    return None if newest is None else (snapshot.snapshot_id, to_micros(newest), following)


def _needed_after(plan: GroupPlan, cut: int) -> int | None:
    """The instant before which no event matters to a row after the cut, nor to a correction of one before it."""
    assert isinstance(plan.rows, WindowedRows)
    assert plan.stream is not None
    if any(aggregate.session or aggregate.window is None for aggregate in plan.rows.aggregates):
        return None
    longest = max(aggregate.window or 0 for aggregate in plan.rows.aggregates)
    copies = plan.stream.deduplicate_size if plan.stream.event_id is not None else 0
    return cut - longest - plan.stream.lateness_size - plan.slide - copies


def _remember_first(catalog: Catalog, plan: GroupPlan, begin: int) -> None:
    """Notes in the table that its history begins here, with a row for every entity that has something by then."""
    table = ensure_table(catalog, plan.schema)
    if FIRST_TIMESTAMP not in table.properties:
        with table.transaction() as transaction:
            transaction.set_properties({FIRST_TIMESTAMP: str(begin + plan.slide)})
