"""Chained groups: one that computes over the rows of another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from feature_store.dsl.source import BatchSource
from feature_store.dtypes import TIMESTAMP
from feature_store.duration import format_duration
from feature_store.errors import DefinitionError
from feature_store.plan.build import build_plan
from feature_store.plan.lineage import personal_data
from feature_store.plan.problems import Problem
from feature_store.plan.schema import FEATURE_TIMESTAMP

if TYPE_CHECKING:
    from feature_store.dsl.group import FeatureGroup


def rows_of(group: FeatureGroup) -> BatchSource:
    """The rows of a batch group as a source: its keys, its features and its feature_timestamp, the event time.

    Raises:
        DefinitionErrors: if the group is wrong.
        DefinitionError: if it is a stream, whose table keeps the versions of corrected rows.
    """
    if group.stream is not None:
        raise DefinitionError(
            f"the rows of {group.id} are written by a stream, and are corrected later",
            where=group.place,
            remedy="chain groups over batch sources, or read the stream's history",
            code="chain",
        )
    plan = build_plan(group)
    schema, personal = plan.schema, personal_data(plan)
    columns = {column.name: column.dtype for column in (*schema.keys, *schema.features)}
    return BatchSource(
        f"{group.name}_v{group.version}",
        table=schema.table,
        event_timestamp=FEATURE_TIMESTAMP,
        schema={**columns, FEATURE_TIMESTAMP: TIMESTAMP},
        pii=tuple(name for name in columns if name in personal),
        of_group=group.id,
        description=f"The rows of {group.id}",
    )


def chain_errors(group: FeatureGroup, defined: Mapping[str, FeatureGroup]) -> list[DefinitionError]:
    """What is wrong in how a group reads the rows of others; `defined` are all groups of the project, by id."""
    found = []
    for source in group.all_sources:
        if not source.of_group:
            continue
        before = defined.get(source.of_group)
        if before is None:
            message = f"it reads the rows of {source.of_group}, which is not defined by itself"
            remedy = "assign that group to a variable of a module in feature_defs"
        elif group.availability_delay_size < before.availability_delay_size:
            own, needed = map(format_duration, (group.availability_delay_size, before.availability_delay_size))
            message = (
                f"its availability_delay {own!r} is shorter than that of {before.id}, whose rows "
                f"it reads: they are known {needed} after their feature timestamp"
            )
            remedy = f"use availability_delay={needed!r} or more"
        else:
            continue
        found.append(Problem("chain", message, remedy).error_in(group))
    return found
