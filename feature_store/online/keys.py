"""Redis keys: one canonical, injective, readable encoding of an entity, the same for batch, stream and every client.

    user_orders@1:{u1}          one string or integer key
    interactions@2:{u1|i9}      a composite key
    user_orders@1:last_updated  what belongs to the group, not to an entity
    ranking@1:user_id:{u1}      the rows of one entity in several groups of a pre-joined view (vector_sets.py)

The braces are a Redis Cluster hash tag: the rows of one entity share a slot, whatever the group. A part is written by
the type of its column (so 5 and "5" meet only in a column of one type):

    STRING      as it is, in UTF-8, with % { } | as %25 %7B %7D %7C; the empty string as a lone %
    INT         decimal
    BOOL        true or false
    TIMESTAMP   microseconds since the epoch, decimal

An entity with a NULL part has no key: it is missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from feature_store.dtypes import INT_MAX, INT_MIN, from_micros, to_micros
from feature_store.errors import DefinitionError, InputError
from feature_store.plan.schema import Column, GroupSchema

if TYPE_CHECKING:
    import polars as pl

SEPARATOR = "|"
EMPTY = "%"
RESERVED = "%{}|"
"""Characters that are escaped in a part of a key."""
VECTOR_SETS_KEY = "vector_sets"
"""Key of the hash that says which vectors are kept beside the rows of groups (vector_sets.py)."""
_ESCAPES = {character: f"%{ord(character):02X}" for character in RESERVED}
_TRANSLATION = str.maketrans(_ESCAPES)
_ESCAPED = re.compile(f"[{RESERVED}]")


def entity_tag(columns: Sequence[Column], row: Mapping[str, Any], number: int | None = None) -> str | None:
    """The part of an entity's keys that all groups share, such as "{u1}"; None if a key column is NULL.

    Args:
        columns: the key columns, in order.
        row: a value for each of them; other items are ignored.
        number: of the row, from 0, to name in an error.

    Raises:
        InputError: if the row lacks a key column or holds a value of another type in one.
    """
    parts: list[str] = []
    null = False
    for column in columns:
        try:
            value = row[column.name]
            if value is None:
                null = True
            else:
                parts.append(_encoder(column)(value))
        except KeyError:
            raise InputError(
                f"key column {column.name!r} is missing",
                where=_place(number),
                remedy=f"give {', '.join(c.name for c in columns)}",
                code="missing-key-column",
            ) from None
        except (TypeError, ValueError) as error:
            raise InputError(
                f"key column {column.name!r} is {column.dtype}, not {value!r}: {error}",
                where=_place(number),
                remedy=f"give a value of type {column.dtype}",
                code="wrong-key-type",
            ) from None
    return None if null else f"{{{SEPARATOR.join(parts)}}}"


def tag_values(columns: Sequence[Column], tag: str) -> list[Any]:
    """The values of the key columns of an entity, out of its tag: the inverse of `entity_tag`."""
    parts = tag.removeprefix("{").removesuffix("}").split(SEPARATOR)
    return [_DECODERS[column.dtype.kind](part) for column, part in zip(columns, parts, strict=True)]


def entity_key(group: GroupSchema, row: Mapping[str, Any]) -> str | None:
    """The key of an entity's row in a group, such as "user_orders@1:{u1}"; None if a key column is NULL.

    Raises:
        InputError: as `entity_tag`.
    """
    tag = entity_tag(group.keys, row)
    return None if tag is None else f"{group.id}:{tag}"


def entity_keys(group: GroupSchema, frame: pl.DataFrame) -> pl.Series:
    """The keys of all rows of a frame that has the key columns in their Arrow types; NULL where a part is NULL."""
    import polars as pl

    parts: list[Any] = []
    for column in group.keys:
        parts += [pl.lit(SEPARATOR)] if parts else []
        parts.append(_encode_column(column, frame[column.name]))
    key = pl.concat_str([pl.lit(f"{group.id}:{{"), *parts, pl.lit("}")])
    return frame.select(key.alias("key")).to_series()


def last_updated_key(group: GroupSchema) -> str:
    """Key of up to when the group's rows are in the store: "user_orders@1:last_updated"."""
    return f"{group.id}:last_updated"


def layouts_key(group: GroupSchema) -> str:
    """Key of the hash that says how the group's values are laid out, by layout number."""
    return f"{group.id}:layouts"


def progress_key(group: GroupSchema) -> str:
    """Key of the hash that says how far the offline table was materialized."""
    return f"{group.id}:progress"


def key_part(text: str) -> str:
    """A text as a part of a key."""
    return _string(text)


def _place(number: int | None) -> str:
    return "" if number is None else f"row {number}"


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a {type(value).__name__}")
    if not value:
        return EMPTY
    if not value.isascii():
        value.encode()  # a lone surrogate has no UTF-8 form and raises a ValueError
    return value.translate(_TRANSLATION) if _ESCAPED.search(value) else value


def _integer(value: object) -> str:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"a {type(value).__name__}")
    if not INT_MIN <= value <= INT_MAX:
        raise ValueError("it does not fit 64 bits")
    return str(value)


def _boolean(value: object) -> str:
    if not isinstance(value, bool):
        raise TypeError(f"a {type(value).__name__}")
    return "true" if value else "false"


def _timestamp(value: object) -> str:
    if not isinstance(value, datetime):
        raise TypeError(f"a {type(value).__name__}")
    return str(to_micros(value))


_ENCODERS: dict[str, Callable[[object], str]] = {
    "STRING": _string,
    "INT": _integer,
    "BOOL": _boolean,
    "TIMESTAMP": _timestamp,
}


def _text(part: str) -> str:
    if part == EMPTY:
        return ""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), part)


_ESCAPE = re.compile("%([0-9A-F]{2})")
_DECODERS: dict[str, Callable[[str], Any]] = {
    "STRING": _text,
    "INT": int,
    "BOOL": lambda part: part == "true",
    "TIMESTAMP": lambda part: from_micros(int(part)),
}


def _encoder(column: Column) -> Callable[[object], str]:
    encoder = _ENCODERS.get(column.dtype.kind)
    if encoder is None:
        raise DefinitionError(
            f"{column.dtype} cannot be a key",
            where=f"key column {column.name!r}",
            remedy=f"use one of {', '.join(_ENCODERS)}",
            code="key-type",
        )
    return encoder


def _encode_column(column: Column, values: pl.Series) -> pl.Series:
    import polars as pl

    _encoder(column)
    match column.dtype.kind:
        case "STRING":
            encoded = values.cast(pl.String)
            if encoded.str.contains_any(list(_ESCAPES)).any():
                encoded = encoded.str.replace_many(_ESCAPES)
            return encoded.replace("", EMPTY) if (encoded == "").any() else encoded
        case "TIMESTAMP":
            return values.dt.cast_time_unit("us").cast(pl.Int64).cast(pl.String)
        case _:
            return values.cast(pl.String)
