"""Chunks: the partitions that one run of a backfill computes and publishes by itself, so that what is done stays done.

Dagster makes the runs (a backfill policy); sensors that ask for a range ask for it in chunks, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import dagster as dg

from feature_assets.partitions import partitions_of
from feature_store.compile.span import Span
from feature_store.compile.spark import events_after
from feature_store.duration import DAY
from feature_store.plan.nodes import GroupPlan

SHORTEST = 30 * DAY
"""Microseconds: starting Spark is little beside the computation of a month."""
LONGEST = 122 * DAY
"""Microseconds, a third of a year: what reads everything before it reads twice as much for a year as one run would."""


def chunk_size(plan: GroupPlan) -> int:
    """The length of a group's chunk (microseconds, whole days): that of its longest window, within bounds.

    A chunk reads what lies a window before it, so all of them read at most about twice what they compute. All-time
    windows, sessions, snapshots and queries read everything before, as if their window were the longest.
    """
    after = events_after(plan, Span(0, plan.slide))
    before = LONGEST if after is None else -(after // DAY) * DAY
    return min(max(before, SHORTEST), LONGEST)


def partitions_per_chunk(plans: Iterable[GroupPlan]) -> Mapping[str, int]:
    """For each group, by its id, how many partitions a run of a backfill computes at most.

    Groups of the same partitions agree on their greatest: Dagster then computes them in the same runs, which share a
    Spark session.
    """
    given = list(plans)
    sizes: dict[tuple[str, str], int] = {}
    for plan in given:
        together = (plan.group.refresh, plan.group.start)
        sizes[together] = max(chunk_size(plan) // plan.group.partition_size, sizes.get(together, 0))
    return {plan.group.id: sizes[plan.group.refresh, plan.group.start] for plan in given}


def in_chunks(plan: GroupPlan, first: str, last: str) -> Iterator[dict[str, str]]:
    """A range of a group's partitions in chunks: for each the tags that let one run compute it."""
    keys = partitions_of(plan.group).get_partition_keys_in_range(dg.PartitionKeyRange(first, last))
    size = chunk_size(plan) // plan.group.partition_size
    for begin in range(0, len(keys), size):
        chunk = keys[begin : begin + size]
        yield {"dagster/asset_partition_range_start": chunk[0], "dagster/asset_partition_range_end": chunk[-1]}
