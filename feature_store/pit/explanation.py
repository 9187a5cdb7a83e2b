"""What a training dataset is made of: what is read of how much, how it is joined, what is odd about the labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from feature_store.dtypes import from_micros, to_micros
from feature_store.duration import DAY
from feature_store.pit.budget import JoinBudget
from feature_store.pit.gathering import Labels, SpilledLabels
from feature_store.pit.part import present_buckets
from feature_store.pit.planning import GroupPlan, PlannedFile
from feature_store.plan.schema import ViewSchema

ENGINE = "native"

_FEW_LABELS = 10_000  # with more of them there is one in every bucket


@dataclass(frozen=True)
class GroupReads:
    """What is read of one group, as the view calls it.

    Attributes:
        snapshot: of the group's table; None: nothing was written to it yet.
        columns: those that are read: keys, times and the features of the view.
        files, rows: those that can matter for the labels, by day and bucket.
        size: bytes of the columns in these files, as they are stored.
        of_files, of_size: all files of the table at the snapshot, and their bytes.
    """

    group: str
    snapshot: int | None
    columns: tuple[str, ...]
    files: int
    rows: int
    size: int
    of_files: int
    of_size: int

    def __str__(self) -> str:
        if self.snapshot is None:
            return f"{self.group}: nothing was written to it yet"
        return (
            f"{self.group}: {self.files} of {self.of_files} files, {_megabytes(self.size)} of "
            f"{_megabytes(self.of_size)} ({len(self.columns)} columns), {self.rows:,} rows, snapshot {self.snapshot}"
        )


@dataclass(frozen=True)
class JoinExplanation:
    """How a training dataset is made; as text, a line for each group.

    Attributes:
        label_count, first_label, last_label: how many labels there are, and their first and last time.
        engine: what runs the join.
        spilled: whether labels and features go through scratch files, as they do not fit in memory.
        result_size: bytes that the result takes in memory, by the widths of its types.
        memory: bytes that the join may have in memory.
        workers: how many threads join.
        warnings: what is suspicious about the labels.
    """

    view: str
    label_count: int
    first_label: datetime
    last_label: datetime
    groups: tuple[GroupReads, ...]
    engine: str
    spilled: bool
    result_size: int
    memory: int
    workers: int
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        where = "through scratch files" if self.spilled else "in memory"
        lines = [
            f"{self.view}: {self.label_count:,} labels from {self.first_label:%Y-%m-%d %H:%M} to "
            f"{self.last_label:%Y-%m-%d %H:%M} UTC",
            *(f"  {group}" for group in self.groups),
            f"engine {self.engine}: {where}, since the result takes {_megabytes(self.result_size)} and the join may "
            f"take {_megabytes(self.memory)}; {self.workers} threads",
            *(f"warning: {warning}" for warning in self.warnings),
        ]
        return "\n".join(lines)


def explain(
    labels: Labels | SpilledLabels,
    view: ViewSchema,
    plans: Sequence[GroupPlan],
    budget: JoinBudget,
    label_times: tuple[int, int],
    now: datetime,
) -> JoinExplanation:
    """What the join of some labels reads and takes.

    Args:
        plans: one for each group of the view, in order.
        label_times: the first and the last label_timestamp, in microseconds.
        now: the instant after which labels are in the future.
    """
    return JoinExplanation(
        view=view.id,
        label_count=labels.row_count,
        first_label=from_micros(label_times[0]),
        last_label=from_micros(label_times[1]),
        groups=tuple(_reads(labels, plan) for plan in plans),
        engine=ENGINE,
        spilled=isinstance(labels, SpilledLabels),
        result_size=labels.row_count * (budget.feature_bytes + budget.label_bytes),
        memory=budget.memory,
        workers=budget.workers,
        warnings=tuple(_warnings(labels, plans, now)),
    )


def _reads(labels: Labels | SpilledLabels, plan: GroupPlan) -> GroupReads:
    files = _needed(labels, plan)
    return GroupReads(
        group=plan.viewed.id,
        snapshot=plan.snapshot_id,
        columns=plan.columns,
        files=len(files),
        rows=sum(file.rows for file in files),
        size=plan.size(files),
        of_files=plan.whole.files,
        of_size=plan.whole.size,
    )


def _needed(labels: Labels | SpilledLabels, plan: GroupPlan) -> Sequence[PlannedFile]:
    """The planned files; where labels are few, without those of buckets that none of them is in."""
    key = plan.bucket_key.name
    if not isinstance(labels, Labels) or labels.row_count > _FEW_LABELS or key not in labels.table.column_names:
        return plan.files
    present = present_buckets(labels.table[key], plan)
    return [file for file in plan.files if file.bucket % plan.buckets in present]


def _warnings(labels: Labels | SpilledLabels, plans: Sequence[GroupPlan], now: datetime) -> Iterator[str]:
    """Labels at times of which nothing can be known: for each group how many lie before its rows, and in the future."""
    begins = [_first_instant(plan) for plan in plans]
    early, late = Counter[int](), 0
    for times in labels.times():
        instants = times.cast(pa.int64()).to_numpy()
        early.update({begin: int((instants < begin).sum()) for begin in set(begins) if begin is not None})
        late += int((instants > to_micros(now)).sum())
    for plan, begin in zip(plans, begins, strict=True):
        if plan.snapshot_id is None:
            yield f"group {plan.viewed.id}: nothing was written to it yet, so all its features are missing"
        elif begin is not None and early[begin]:
            day = from_micros(begin - plan.group.availability_delay)
            yield (
                f"group {plan.viewed.id}: {early[begin]:,} of {labels.row_count:,} labels are before its first rows, "
                f"which are of {day:%Y-%m-%d}"
            )
    if late:
        yield f"{late:,} of {labels.row_count:,} labels are in the future: what will be known by then is not known yet"


def _first_instant(plan: GroupPlan) -> int | None:
    """An instant before which no row of a group is available, in microseconds."""
    day = plan.whole.first_day
    return None if day is None else day * DAY + plan.group.availability_delay


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:,.1f} MB"
