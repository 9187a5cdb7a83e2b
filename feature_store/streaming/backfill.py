"""What batch has to compute when a stream takes over: the partitions before the cut."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pyarrow.compute as pc
from pyiceberg.catalog import Catalog

from feature_store.dtypes import from_micros, to_micros
from feature_store.duration import DAY
from feature_store.offline.scanning import column_batches
from feature_store.plan.nodes import GroupPlan


def span_before_cut(
    catalog: Catalog, plan: GroupPlan, start: Mapping[str, Any], now: datetime
) -> tuple[datetime, datetime] | None:
    """The span `[first, end)` of events that batch computes for a group whose job took over as `start` says.

    From the day of the first event that the log then had, at the earliest the group's first day, to the cut, or to the
    last partition that is over at `now`. None if the stream computes everything.

    Args:
        start: of the job, as the registry has it (`compile.flink.Start`).
    """
    snapshot, cut = start.get("snapshot"), start.get("cut")
    if snapshot is None or cut is None:
        return None
    begin = to_micros(datetime.fromisoformat(f"{plan.group.start}T00:00:00+00:00"))
    if cut <= begin:
        return None
    size = plan.group.partition_size
    end = min(cut, to_micros(now) // size * size)
    first = max(begin, _first_event(catalog, plan, snapshot) // DAY * DAY)
    return (from_micros(first), from_micros(end)) if first < end else None


def _first_event(catalog: Catalog, plan: GroupPlan, snapshot: int) -> int:
    """The time of the first event in a snapshot of the log, which has some (microseconds)."""
    assert plan.stream is not None
    time = plan.stream.event_timestamp
    table = catalog.load_table(str(plan.stream.log.table))
    known = None if table.snapshot_by_id(snapshot) is None else snapshot  # an old one may have been expired: the newest
    firsts = [pc.min(batch[time]).as_py() for batch in column_batches(table, (time,), known)]
    return min(to_micros(first) for first in firsts if first is not None)
