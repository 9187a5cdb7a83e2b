"""The rule of the point-in-time join, in prose and as a slow, obvious reference that the kernel is tested against.

For one label and one group, look at the rows of the label's entity (all key columns equal; NULL equals nothing).
Keep a row if

- it was available at the label:     feature_timestamp + availability_delay <= label_timestamp,
- it was not too old at the label:   feature_timestamp >= label_timestamp - ttl   (no ttl: never too old),
- it was known, if that is asked:    created_timestamp <= label_timestamp         (`known_by="label"`).

All three bounds are closed. Of the kept rows of one feature_timestamp, the one with the greatest created_timestamp
stands, among equal ones the last in the table: a row that was written again corrects the one before, and a row marked
as retracted takes the rows before it back, so there is none at that time. Of the rows that stand take the one with the
greatest feature_timestamp. None left: every feature of the group is missing. A missing value and a NULL one become the
feature's default, or NULL.

A retraction that was not known at the label yet is no reason to leave a row out.

A key column is a column of the label, or a feature of another group of the view: then its value is the one that group
gives the label, default included, and the rows looked at are those of the label's own time all the same.

Labels keep their order, their duplicates and all their columns: as many rows come out as went in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from feature_store.dtypes import to_micros
from feature_store.plan.schema import CREATED_TIMESTAMP, FEATURE_TIMESTAMP, RETRACTED, GroupSchema, ViewedSchema

LABEL_TIMESTAMP = "label_timestamp"

KnownBy = Literal["label"] | None
"""Which rows may be seen: all of them, or with "label" only those already written at the label's time."""

Row = dict[str, Any]


def reference_join(
    labels: Sequence[Row], groups: Sequence[tuple[ViewedSchema, Sequence[Row]]], known_by: KnownBy = None
) -> list[Row]:
    """The labels with the features of every group, by plain loops over Python values (times are aware datetimes)."""
    joined = []
    for label in labels:
        result, waiting = dict(label), list(groups)
        while waiting:
            ready = (i for i, (viewed, _) in enumerate(waiting) if all(key.name in result for key in viewed.keys))
            viewed, rows = waiting.pop(next(ready))
            row = _row_at(result, viewed, rows, known_by)
            for feature, stored in zip(viewed.features, viewed.group.features, strict=True):
                value = None if row is None else row.get(stored.name)
                result[feature.name] = feature.default if value is None else value
        joined.append(result)
    return joined


def _row_at(label: Row, viewed: ViewedSchema, rows: Sequence[Row], known_by: KnownBy) -> Row | None:
    standing: dict[int, Row] = {}
    for row in rows:
        if not _is_entity(label, row, viewed) or not _is_usable(label, row, viewed.group, known_by):
            continue
        time, created = _recency(row)
        if time not in standing or created >= _recency(standing[time])[1]:
            standing[time] = row
    left = {time: row for time, row in standing.items() if not row.get(RETRACTED)}
    return left[max(left)] if left else None


def _is_entity(label: Row, row: Row, viewed: ViewedSchema) -> bool:
    keys = zip(viewed.keys, viewed.group.keys, strict=True)
    return all(label[key.name] is not None and label[key.name] == row[stored.name] for key, stored in keys)


def _is_usable(label: Row, row: Row, group: GroupSchema, known_by: KnownBy) -> bool:
    at = to_micros(label[LABEL_TIMESTAMP])
    feature_timestamp, created_timestamp = _recency(row)
    available = feature_timestamp + group.availability_delay <= at
    fresh = group.ttl is None or feature_timestamp >= at - group.ttl
    known = known_by is None or created_timestamp <= at
    return available and fresh and known


def _recency(row: Row) -> tuple[int, int]:
    return to_micros(row[FEATURE_TIMESTAMP]), to_micros(row[CREATED_TIMESTAMP])
