"""The entities of a request: the tags of its rows, each once, and which row has which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from feature_store.dtypes import INT_MAX, INT_MIN
from feature_store.online.keys import RESERVED, SEPARATOR, entity_tag
from feature_store.online.vectors import NO_ENTITY
from feature_store.plan.schema import Column

_FEW = 4
"""Rows of which each is looked at alone."""


class EntityTags(NamedTuple):
    """The entities of some rows in one role.

    Attributes:
        tags: of every entity once, in the order of the rows.
        places: of every row the place of its entity in `tags`, or NO_ENTITY; None if row i has entity i.
    """

    tags: Sequence[str]
    places: Sequence[int] | None


def entity_tags(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> EntityTags:
    """The entities of rows.

    Args:
        columns: the key columns, in order.

    Raises:
        InputError: naming the row, if it lacks a key column or holds a value of another type in one.
    """
    if len(rows) == 1 and (tag := entity_tag(columns, rows[0], 0)) is not None:
        return EntityTags([tag], None)
    parts = [None] if len(rows) <= _FEW else [_plain_parts(column, rows) for column in columns]
    tags: Sequence[str | None]
    if None in parts:
        tags = [entity_tag(columns, row, i) for i, row in enumerate(rows)]
    elif len(parts) == 1:
        tags = [f"{{{part}}}" for part in parts[0] or ()]
    else:
        tags = [f"{{{SEPARATOR.join(row)}}}" for row in zip(*(part or () for part in parts), strict=True)]
    numbers: dict[str, int] = {}
    places = [NO_ENTITY if tag is None else numbers.setdefault(tag, len(numbers)) for tag in tags]
    return EntityTags([*numbers], None if len(numbers) == len(rows) else places)


def _plain_parts(column: Column, rows: Sequence[Mapping[str, Any]]) -> Sequence[str] | None:
    """A column's parts of the tags where these are the values as they are; None where one may not be.

    That is tested for all rows at once: a test for each would take longer than all the rest.
    """
    try:
        values = [row[column.name] for row in rows]
    except KeyError:
        return None
    kinds = set(map(type, values))
    if column.dtype.kind == "STRING" and kinds == {str}:
        text = "".join(values)
        return values if all(values) and text.isascii() and not RESERVED.search(text) else None
    if column.dtype.kind == "INT" and kinds == {int} and min(values) >= INT_MIN and max(values) <= INT_MAX:
        return [*map(str, values)]
    return None
