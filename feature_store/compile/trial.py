"""A group on rows in memory, for its author's own tests: by the reference, in milliseconds, without any service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from feature_store.compile.reference import run_reference
from feature_store.compile.span import Span
from feature_store.dsl.group import FeatureGroup
from feature_store.dsl.source import BatchSource
from feature_store.dtypes import TIMESTAMP, to_micros
from feature_store.errors import InputError, choices
from feature_store.plan.build import build_plan

Rows = Sequence[Mapping[str, Any]]


def run_group(group: FeatureGroup, rows: Rows | Mapping[str, Rows], as_of: datetime | str) -> list[dict[str, Any]]:
    """What serving would have of each entity at an instant, if these were all rows and they had arrived in time.

    Args:
        group: of any kind.
        rows: of its source; of several sources, by their names. A TIMESTAMP is a datetime with a time zone, or ISO text
            (UTC unless it says otherwise); a column that a row lacks is NULL. Of a stream, its events.
        as_of: the instant, as a datetime with a time zone or ISO text. Computed at the newest slide up to it.

    Returns:
        One dict for each entity that has rows, with its keys and features, ordered by key. NULLs are replaced by
        defaults, as in serving; no row is too old, whatever the group's ttl is. An INT that does not fit 64 bits is
        NULL, and a row on which an expression overflows is left out, as on every engine.

    Raises:
        DefinitionErrors: if the group is wrong.
        InputError: if a row has an unknown column or a value of another type, a source is missing.
    """
    plan = build_plan(group)
    given = _by_source(plan.sources, group, rows)
    read = {source.name: _typed(source, given[source.name]) for source in plan.sources}
    at = to_micros(_instant(as_of, "as_of")) // plan.slide * plan.slide
    # What is known of an entity at an instant is its value there, whether or not it changed just then.
    everyone = replace(plan, group=replace(group, emit="snapshot"))
    found = run_reference(everyone, read, Span(at - plan.slide, at))
    features = plan.schema.features
    return [
        {key: row[key] for key in plan.keys}
        | {f.name: f.default if row[f.name] is None else row[f.name] for f in features}
        for row in found
    ]


def _by_source(
    sources: Sequence[BatchSource], group: FeatureGroup, rows: Rows | Mapping[str, Rows]
) -> Mapping[str, Rows]:
    """The rows of each source; of a stream under the name of its log."""
    if not isinstance(rows, Mapping):
        if len(sources) == 1:
            return {sources[0].name: rows}
        names = ", ".join(repr(source.name) for source in sources)
        raise InputError(
            "the group reads several sources", where=group.id, remedy=f"give rows by name: {names}", code="run-rows"
        )
    known = {source.name: source.name for source in sources}
    if group.stream is not None:
        known[group.stream.name] = sources[0].name
    if unknown := [name for name in rows if name not in known]:
        raise InputError(
            f"{group.id} does not read {unknown[0]!r}",
            where="rows",
            remedy=f"it reads {', '.join(map(repr, known))}",
            code="run-rows",
        )
    given = {known[name]: found for name, found in rows.items()}
    if missing := [source.name for source in sources if source.name not in given]:
        raise InputError(
            f"there are no rows of {missing[0]!r}",
            where="rows",
            remedy="give an empty list if so meant",
            code="run-rows",
        )
    return given


def _typed(source: BatchSource, rows: Rows) -> list[dict[str, Any]]:
    typed = []
    for number, given in enumerate(rows):
        row = dict(given)
        for name, value in given.items():
            where = f"row {number} of {source.name}, column {name}"
            if name not in source.schema:
                raise InputError(
                    f"there is no column {name!r}",
                    where=where,
                    remedy=choices(name, source.schema),
                    code="unknown-column",
                )
            dtype = source.schema[name]
            if dtype == TIMESTAMP and value is not None:
                row[name] = _instant(value, where)
            elif not dtype.accepts(value):
                raise InputError(f"{value!r} is not a value of {dtype}", where=where, code="wrong-type")
        typed.append(row)
    return typed


def _instant(value: Any, where: str) -> datetime:
    remedy = "write a datetime with a time zone, or ISO text such as 2026-01-31T12:00:00Z"
    if isinstance(value, str):
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            raise InputError(
                f"{value!r} is not an instant", where=where, remedy=remedy, code="not-an-instant"
            ) from None
        return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise InputError(
            f"{value!r} is not an instant with a time zone", where=where, remedy=remedy, code="not-an-instant"
        )
    return value
