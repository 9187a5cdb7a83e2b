"""The entities of a request: the tags of its rows, each once, and which row has which."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

import msgspec

from feature_store.dtypes import INT_MAX, INT_MIN
from feature_store.online.keys import RESERVED, SEPARATOR, entity_tag
from feature_store.online.vectors import NO_ENTITY
from feature_store.plan.schema import Column

_FEW = 4
"""Rows of which each is looked at alone."""
_APART = "%"
"""Stands in no tag of plain parts, and so separates them: joining and splitting texts is faster than a loop."""


class KeyColumns(Sequence[Mapping[str, Any]]):
    """The rows of a request that gives them column by column; a row is made when it is asked for.

    Args:
        columns: the values of every key column, one for each row.
        size: the number of rows.
    """

    def __init__(self, columns: Mapping[str, Sequence[Any]], size: int) -> None:
        self.columns = columns
        self._size = size

    @classmethod
    def spread(cls, columns: Mapping[str, Sequence[Any]], size: int) -> KeyColumns:
        """Columns of which those with a single value have it on every row."""
        values = {name: [of[0]] * size if len(of) == 1 else of for name, of in columns.items()}
        return cls(values, size)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        if not self.columns:
            return iter([{} for _ in range(self._size)])
        return (dict(zip(self.columns, row, strict=True)) for row in zip(*self.columns.values(), strict=True))

    @overload
    def __getitem__(self, place: int) -> Mapping[str, Any]: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Mapping[str, Any]]: ...

    def __getitem__(self, place: int | slice) -> Mapping[str, Any] | Sequence[Mapping[str, Any]]:
        if isinstance(place, slice):
            return [*self][place]
        return {name: values[place] for name, values in self.columns.items()}


class EntityTags(msgspec.Struct, frozen=True):
    """The entities of some rows in one role.

    Attributes:
        tags: of every entity once, in the order of the rows.
        places: of every row the place of its entity in `tags`, or NO_ENTITY; None if row i has entity i.
        plain: whether `_APART` is in none of them.
    """

    tags: Sequence[str]
    places: Sequence[int] | None
    plain: bool = False

    def keys(self, prefix: str) -> list[str]:
        """The keys of the entities in a group, whose prefix this is."""
        if self.plain:
            return (prefix + (_APART + prefix).join(self.tags)).split(_APART)
        return [prefix + tag for tag in self.tags]


def entity_tags(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> EntityTags:
    """The entities of rows.

    Args:
        columns: the key columns, in order.

    Raises:
        InputError: naming the row, if it lacks a key column or holds a value of another type in one.
    """
    if len(rows) == 1 and (tag := entity_tag(columns, rows[0], 0)) is not None:
        return EntityTags([tag], None)
    names = _plain_names(columns, rows) if len(rows) > _FEW else None
    if names is not None:
        once = dict.fromkeys(names)
        tags = ("{" + f"}}{_APART}{{".join(once) + "}").split(_APART)
        return EntityTags(tags, None if len(once) == len(rows) else _places(names, once), plain=True)
    tag_of_row = [entity_tag(columns, row, i) for i, row in enumerate(rows)]
    known = dict.fromkeys(tag for tag in tag_of_row if tag is not None)
    return EntityTags([*known], None if len(known) == len(rows) else _places(tag_of_row, known))


def _places(names: Iterable[str | None], once: Iterable[str]) -> list[int]:
    numbers: dict[str | None, int] = {name: i for i, name in enumerate(once)}
    numbers[None] = NO_ENTITY
    return [*map(numbers.__getitem__, names)]


def _plain_names(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> Sequence[str] | None:
    """Of every row its entity's name inside the tag; None if a part may not be the value as it is."""
    parts = [_plain_parts(column, rows) for column in columns]
    plain = [part for part in parts if part is not None]
    if len(plain) < len(parts) or not parts:
        return None
    return plain[0] if len(plain) == 1 else [*map(SEPARATOR.join, zip(*plain, strict=True))]


def _plain_parts(column: Column, rows: Sequence[Mapping[str, Any]]) -> Sequence[str] | None:
    """A column's parts of the tags where these are the values as they are; None where one may not be.

    That is tested for all rows at once: a test for each would take longer than all the rest.
    """
    try:
        values = rows.columns[column.name] if isinstance(rows, KeyColumns) else [row[column.name] for row in rows]
    except KeyError:
        return None
    kinds = set(map(type, values))
    if column.dtype.kind == "STRING" and kinds == {str}:
        text = "".join(values)
        encoded = "" in values or not text.isascii() or any(character in text for character in RESERVED)
        return None if encoded else values
    if column.dtype.kind == "INT" and kinds == {int} and min(values) >= INT_MIN and max(values) <= INT_MAX:
        return [*map(str, values)]
    return None
