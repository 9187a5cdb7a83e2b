"""Reads that were served, made again from the offline store: each at its own time, with what was known by then.

This is the consistency of a view, row by row: the share of served values that are those of a training dataset.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog

from feature_store.dtypes import TIMESTAMP, Value, from_micros
from feature_store.online.vectors import Status
from feature_store.pit.join import join_labels
from feature_store.pit.planning import current_snapshot_id, open_table, plan_group
from feature_store.pit.semantics import LABEL_TIMESTAMP
from feature_store.plan.schema import FEATURE_TIMESTAMP, Column, ViewedSchema, ViewSchema
from feature_store.skew.served_table import ServedGroup, ServedTable

_EXAMPLES = 5
"""Of rows that differ, that a report names of each feature."""
_COMMIT_MICROS = 60_000_000
"""How long a commit of a stream may take: a row that was written while one was made is in the next."""
_QUANTILES = (0.5, 0.95, 1.0)


class Outcome(StrEnum):
    """How a served value compares with the one that training has for the same entity and time.

    EQUAL: the same value, whichever row it is from.
    MISSING: training has a row, serving had none.
    EXTRA: serving had a row, training has none.
    BEHIND: an older row was served than the offline store had: it had not come to the online store yet.
    AHEAD: a newer row was served than the offline store knew of, or one that was taken back.
    PENDING: AHEAD, but the offline store was not written to since the read: a stream commits its rows there later than
        they are served. It counts neither as equal nor as different.
    DIFFERENT: the row of the same feature_timestamp has another value.
    """

    EQUAL = "equal"
    MISSING = "missing"
    EXTRA = "extra"
    BEHIND = "behind"
    AHEAD = "ahead"
    PENDING = "pending"
    DIFFERENT = "different"


@dataclass(frozen=True)
class Example:
    """One row on which a feature is not equal."""

    keys: dict[str, Value]
    read_at: datetime
    model: str
    outcome: Outcome
    served: Value
    training: Value
    served_timestamp: datetime | None
    training_timestamp: datetime | None


@dataclass(frozen=True)
class FeatureReplay:
    """How the served values of one feature compare with training.

    Attributes:
        group: what the view calls the group of the feature.
        outcomes: how many rows have each; rows on which the online store did not answer have none.
        deltas: of numbers that are not equal, the median, 95th percentile and maximum of |served - training|.
    """

    name: str
    group: str
    outcomes: dict[Outcome, int]
    deltas: tuple[float, ...]
    examples: tuple[Example, ...]

    @property
    def compared(self) -> int:
        return sum(self.outcomes.values()) - self.pending

    @property
    def pending(self) -> int:
        return self.outcomes.get(Outcome.PENDING, 0)

    @property
    def equal(self) -> int:
        return self.outcomes.get(Outcome.EQUAL, 0)


@dataclass(frozen=True)
class ReplayReport:
    """The consistency of a view: `equal` of `compared` served values are those of training.

    Attributes:
        rows: how many served rows were joined again.
        unavailable: answers of groups that were left out because the online store did not answer them.
        other_rows: rows that were left out because they were read with another definition of the view.
    """

    view: str
    rows: int
    first: datetime | None
    last: datetime | None
    unavailable: int
    other_rows: int
    features: tuple[FeatureReplay, ...]

    @property
    def compared(self) -> int:
        return sum(feature.compared for feature in self.features)

    @property
    def equal(self) -> int:
        return sum(feature.equal for feature in self.features)

    @property
    def pending(self) -> int:
        return sum(feature.pending for feature in self.features)

    def without(self, names: Set[str]) -> ReplayReport:
        """The report without some features, which its reader must not see."""
        return replace(self, features=tuple(feature for feature in self.features if feature.name not in names))

    @property
    def is_consistent(self) -> bool:
        """Whether all values are equal; also if there are none."""
        return self.equal == self.compared


def replay(catalog: Catalog, view: ViewSchema, served: ServedTable) -> ReplayReport:
    """Joins served rows again, each as of its read with `known_by` at that time, and compares value by value.

    Raises:
        NotFoundError: if a group of the view was never materialized.
        ConflictError: if a table does not fit its group's definition.
    """
    times = served.labels[LABEL_TIMESTAMP].cast(pa.int64()).to_pylist()
    features: list[FeatureReplay] = []
    unavailable = 0
    labels = served.labels
    by_place: dict[int, list[FeatureReplay]] = {}
    for places in view.rounds if times else ():
        keys: dict[str, pa.ChunkedArray] = {}
        for place in places:
            joined = _joined(catalog, view.groups[place], labels, (min(times), max(times)))
            keys |= {name: joined.features[name] for name in joined.features.column_names if _is_key(view, name)}
            by_place[place] = _compared(served, served.groups[place], joined, times)
        for name, column in keys.items():
            labels = labels.append_column(name, column)
    for place in sorted(by_place):
        features += by_place[place]
        unavailable += served.groups[place].statuses.count(Status.UNAVAILABLE)
    return ReplayReport(
        view=view.id,
        rows=served.rows,
        first=from_micros(min(times)) if times else None,
        last=from_micros(max(times)) if times else None,
        unavailable=unavailable,
        other_rows=served.other_rows,
        features=tuple(features),
    )


def _is_key(view: ViewSchema, name: str) -> bool:
    """Whether a feature is the key of another group of the view."""
    return any(key.name == name for viewed in view.groups for key in viewed.keys)


@dataclass(frozen=True)
class _Joined:
    """One group as of each label: its features, the feature_timestamp of the row that they are from, and until when the
    rows of the group are known to be in the offline store (microseconds)."""

    features: pa.Table
    known_until: int


def _joined(catalog: Catalog, viewed: ViewedSchema, labels: pa.Table, times: tuple[int, int]) -> _Joined:
    table = open_table(catalog, viewed.group)
    timed = replace(viewed.group, features=(*viewed.group.features, Column(FEATURE_TIMESTAMP, TIMESTAMP)))
    plan = plan_group(table, replace(viewed, group=timed), current_snapshot_id(table), times)
    snapshot = table.current_snapshot()
    known_until = 0 if snapshot is None else snapshot.timestamp_ms * 1_000 - _COMMIT_MICROS
    return _Joined(join_labels(labels, [plan], "label").features, known_until)


def _compared(
    served: ServedTable, group: ServedGroup, joined: _Joined, read_times: Sequence[int]
) -> list[FeatureReplay]:
    viewed = group.group
    stamps = joined.features[f"{viewed.prefix}{FEATURE_TIMESTAMP}"].cast(pa.int64()).to_pylist()
    answered = [i for i, status in enumerate(group.statuses) if status is not Status.UNAVAILABLE]
    keys = served.labels.drop_columns([LABEL_TIMESTAMP])
    found = []
    for feature in viewed.features:
        values, training = group.values[feature.name], joined.features[feature.name].to_pylist()
        outcomes: Counter[Outcome] = Counter()
        sizes: list[float] = []
        examples: list[Example] = []
        for i in answered:
            outcome = _outcome(group, i, values[i], training[i], stamps[i])
            if outcome in (Outcome.AHEAD, Outcome.EXTRA) and read_times[i] > joined.known_until:
                outcome = Outcome.PENDING
            outcomes[outcome] += 1
            if outcome in (Outcome.EQUAL, Outcome.PENDING):
                continue
            if _is_number(values[i]) and _is_number(training[i]):
                sizes.append(abs(values[i] - training[i]))
            if len(examples) < _EXAMPLES:
                examples.append(
                    Example(
                        keys=keys.slice(i, 1).to_pylist()[0],
                        read_at=from_micros(read_times[i]),
                        model=served.models[i],
                        outcome=outcome,
                        served=values[i],
                        training=training[i],
                        served_timestamp=_instant(group.timestamps[i]),
                        training_timestamp=_instant(stamps[i]),
                    )
                )
        found.append(FeatureReplay(feature.name, viewed.id, dict(outcomes), _quantiles(sizes), tuple(examples)))
    return found


def _outcome(group: ServedGroup, place: int, served: Value, training: Value, stamp: int | None) -> Outcome:
    if _same(served, training):
        return Outcome.EQUAL
    has_row = group.statuses[place] in (Status.PRESENT, Status.DEFAULTED)
    served_stamp = group.timestamps[place]
    if stamp is None:
        return Outcome.EXTRA
    if not has_row or served_stamp is None:
        return Outcome.MISSING
    if served_stamp != stamp:
        return Outcome.BEHIND if served_stamp < stamp else Outcome.AHEAD
    return Outcome.DIFFERENT


def _same(served: Any, training: Any) -> bool:
    """Whether two values are one: NaN is NaN, and lists are the same item by item."""
    if isinstance(served, list) and isinstance(training, list):
        return len(served) == len(training) and all(map(_same, served, training))
    if isinstance(served, float) and isinstance(training, float):
        return served == training or (math.isnan(served) and math.isnan(training))
    return bool(served == training)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _quantiles(sizes: list[float]) -> tuple[float, ...]:
    ordered = sorted(sizes)
    return tuple(ordered[min(int(share * len(ordered)), len(ordered) - 1)] for share in _QUANTILES) if ordered else ()


def _instant(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)
