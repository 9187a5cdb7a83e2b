"""Labels for all rows of a span: without a table of labels, a view's own rows say at which times there is one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import gcd

import polars as pl
import pyarrow as pa
from pyiceberg.table import Table

from feature_store.dtypes import TIMESTAMP, arrow_type, to_micros
from feature_store.duration import DAY
from feature_store.errors import InputError
from feature_store.pit.part import files_of
from feature_store.pit.planning import GroupPlan, PlannedFile, plan_group
from feature_store.pit.reading import read_rows
from feature_store.pit.semantics import LABEL_TIMESTAMP
from feature_store.plan.schema import ViewedSchema, ViewSchema

_INSTANT = arrow_type(TIMESTAMP)
_CREATED, _RETRACTED = "created", "retracted"


@dataclass(frozen=True)
class TimeRange:
    """A label for each entity and instant of `[start, end)` at which a row of the view's groups becomes available.

    A row that is corrected makes one label, one that is taken back none. The groups have to share their keys; those
    that are keyed by features of others follow.
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        for name, instant in (("start", self.start), ("end", self.end)):
            if instant.tzinfo is None:
                raise InputError(
                    "it has no time zone",
                    where=f"time_range, {name}",
                    remedy="add tzinfo=UTC",
                    code="naive-timestamp",
                )
        if self.end <= self.start:
            raise InputError(
                f"there is no time from {self.start} to {self.end}",
                where="time_range",
                remedy="let it start before it ends",
                code="time-range",
            )


def labels_in(
    span: TimeRange, view: ViewSchema, tables: Mapping[str, Table], snapshots: Mapping[str, int | None]
) -> pa.RecordBatchReader:
    """The labels of a span: the view's keys and label_timestamp, day by day, by bucket, key and time.

    Args:
        tables, snapshots: of each group, by its id.

    Raises:
        InputError: if the groups do not share their keys, or the view asks for request values.
    """
    groups = [view.groups[place] for place in view.rounds[0]]
    keys = {frozenset(key.name for key in viewed.keys) for viewed in groups}
    if len(keys) > 1 or view.request:
        raise InputError(
            f"view {view.id} needs {', '.join(v.name for v in view.request)}"
            if view.request
            else f"the groups of view {view.id} have different keys: {'; '.join(', '.join(sorted(k)) for k in keys)}",
            where="time_range",
            remedy="give labels that say which entities are meant, and what is known of a request",
            code="time-range",
        )
    start, end = to_micros(span.start), to_micros(span.end)
    plans = [_times_only(tables[viewed.group.id], viewed, snapshots[viewed.group.id], start, end) for viewed in groups]
    columns = {key.name: arrow_type(key.dtype) for key in view.keys}
    schema = pa.schema([*columns.items(), (LABEL_TIMESTAMP, _INSTANT)])
    batches = (batch for table in _labels(plans, schema, start, end) for batch in table.to_batches())
    return pa.RecordBatchReader.from_batches(schema, batches)


def _times_only(table: Table, viewed: ViewedSchema, snapshot: int | None, start: int, end: int) -> GroupPlan:
    """The files of the rows that become available in a span, to be read without features."""
    bare = replace(viewed.group, features=(), ttl=viewed.group.availability_delay)
    return plan_group(table, replace(viewed, group=bare), snapshot, (start, end - 1))


def _labels(plans: Sequence[GroupPlan], schema: pa.Schema, start: int, end: int) -> Iterator[pa.Table]:
    parts = gcd(*(plan.buckets for plan in plans))
    for day in range(start // DAY, -(-end // DAY)):
        begin, until = max(start, day * DAY), min(end, (day + 1) * DAY)
        for part in range(parts):
            found = [rows for plan in plans if (rows := _available(plan, part, parts, begin, until)) is not None]
            if found:
                names = schema.names
                labels = pl.concat([rows.select(names) for rows in found]).unique().sort(names)
                yield labels.to_arrow().cast(schema)


def _available(plan: GroupPlan, part: int, parts: int, begin: int, until: int) -> pl.DataFrame | None:
    """Keys and times of the standing rows of some buckets that become available in `[begin, until)`."""
    delay = plan.group.availability_delay
    first, last = begin - delay, until - delay
    files = [file for file in files_of(plan, part, parts) if _may_hold(file, first, last)]
    if not files:
        return None
    rows = read_rows(plan, files).candidates
    names = [key.name for key in plan.viewed.keys]
    frame = pl.DataFrame(
        {
            **{name: pl.Series(key) for name, key in zip(names, rows.keys, strict=True)},
            LABEL_TIMESTAMP: rows.feature_times + delay,
            _CREATED: rows.created_times,
            _RETRACTED: False if rows.retracted is None else rows.retracted,
        }
    )
    versions = frame.filter(pl.col(LABEL_TIMESTAMP).is_between(begin, until, closed="left")).drop_nulls(names)
    entity = [*names, LABEL_TIMESTAMP]
    standing = versions.sort(_CREATED, maintain_order=True).unique(entity, keep="last", maintain_order=True)
    return standing.filter(~pl.col(_RETRACTED)).with_columns(
        pl.col(LABEL_TIMESTAMP).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    )


def _may_hold(file: PlannedFile, begin: int, until: int) -> bool:
    """Whether a file may have feature timestamps of `[begin, until)`."""
    return file.day is None or (begin < (file.day + 1) * DAY and file.day * DAY < until)
