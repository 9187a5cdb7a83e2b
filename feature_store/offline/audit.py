"""What an audit looks at before the rows of a run are published."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pyiceberg.expressions import And, GreaterThan, LessThanOrEqual
from pyiceberg.table import Table

from feature_store.compile.span import Span
from feature_store.dtypes import from_micros
from feature_store.offline.profile import Profile
from feature_store.offline.sources import InputCounts
from feature_store.offline.tables import FIRST_TIMESTAMP
from feature_store.plan.nodes import GroupPlan
from feature_store.plan.schema import FEATURE_TIMESTAMP


@dataclass(frozen=True)
class Evidence:
    """The rows of a run, what they were computed from, and the partitions before them.

    Args:
        partitions: how many partitions the run computed.
        recent_rows: how many rows each of the partitions before it has, the newest first; of those that have any.
        branch: of the table, where the rows are as they will be published; "" if they are not written yet.
    """

    profile: Profile
    inputs: tuple[InputCounts, ...]
    partitions: float
    recent_rows: tuple[int, ...] = ()
    branch: str = ""


Audit = Callable[[Evidence], None]
"""Looks at the rows before they are published; raises to keep them from being it."""


def evidence_of(
    table: Table, plan: GroupPlan, span: Span, profile: Profile, inputs: tuple[InputCounts, ...], branch: str = ""
) -> Evidence:
    """The evidence of a run; the partitions before it are counted only if something is expected of their number."""
    size = plan.group.partition_size
    recent = tuple(_recent_rows(table, plan, span, size)) if plan.group.expect_rows is not None else ()
    return Evidence(profile, inputs, (span.until - span.after) / size, recent, branch)


def _recent_rows(table: Table, plan: GroupPlan, span: Span, size: int) -> Iterator[int]:
    """Counted by the metadata of files, as far as they have the rows of one partition only."""
    first = table.properties.get(FIRST_TIMESTAMP)
    assert plan.group.expect_rows is not None
    for back in range(plan.group.expect_rows.recent):
        until = span.after - back * size
        if first is None or until - size < int(first):
            return
        low, high = (from_micros(micros).isoformat() for micros in (until - size, until))
        inside = And(
            GreaterThan(term=FEATURE_TIMESTAMP, value=low), LessThanOrEqual(term=FEATURE_TIMESTAMP, value=high)
        )
        if rows := table.scan(inside, selected_fields=(FEATURE_TIMESTAMP,)).count():
            yield rows
