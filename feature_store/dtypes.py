"""The closed set of feature types, and what each one is in Python."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Value = bool | int | float | str | datetime | list[Any] | None


@dataclass(frozen=True)
class DType:
    """One feature type: INT is 64 bits, FLOAT is a double, TIMESTAMP a UTC instant in microseconds."""

    kind: str
    size: int | None = None
    item: DType | None = None

    def __str__(self) -> str:
        if self.size is not None:
            return f"{self.kind}({self.size})"
        return f"{self.kind}({self.item})" if self.item is not None else self.kind

    __repr__ = __str__

    @property
    def is_numeric(self) -> bool:
        return self.kind in ("INT", "FLOAT")

    def accepts(self, value: Value) -> bool:
        """Whether a Python value is a value of this type (NULL belongs to every type)."""
        if value is None:
            return True
        match self.kind:
            case "STRING":
                return isinstance(value, str)
            case "BOOL":
                return isinstance(value, bool)
            case "INT":
                return isinstance(value, int) and not isinstance(value, bool) and INT_MIN <= value <= INT_MAX
            case "FLOAT":
                return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            case "TIMESTAMP":
                return isinstance(value, datetime) and value.tzinfo is not None
            case "EMBEDDING":
                return isinstance(value, list) and len(value) == self.size and all(FLOAT.accepts(v) for v in value)
            case _:
                assert self.item is not None
                return isinstance(value, list) and all(self.item.accepts(v) for v in value)


STRING, INT, FLOAT = DType("STRING"), DType("INT"), DType("FLOAT")
BOOL, TIMESTAMP = DType("BOOL"), DType("TIMESTAMP")
SCALARS = {t.kind: t for t in (STRING, INT, FLOAT, BOOL, TIMESTAMP)}


def EMBEDDING(size: int) -> DType:  # noqa: N802 - reads as a type in a definition
    """A fixed-length vector of float32."""
    if size < 1:
        raise ValueError(f"EMBEDDING needs at least one dimension, not {size}")
    return DType("EMBEDDING", size=size)


def LIST(item: DType) -> DType:  # noqa: N802 - reads as a type in a definition
    """An ordered list of scalars of one type."""
    if item.kind not in SCALARS:
        raise ValueError(f"LIST holds scalars, not {item}")
    return DType("LIST", item=item)


def parse_dtype(text: str | DType) -> DType:
    """The type written as in a definition: "INT", "EMBEDDING(64)", "LIST(STRING)".

    Raises:
        ValueError: if no type is written like this.
    """
    if isinstance(text, DType):
        return text
    if not isinstance(text, str):
        raise ValueError("a type is a text, such as 'INT'")
    if text in SCALARS:
        return SCALARS[text]
    if match := re.fullmatch(r"EMBEDDING\((\d+)\)", text):
        return EMBEDDING(int(match[1]))
    if (match := re.fullmatch(r"LIST\((\w+)\)", text)) and match[1] in SCALARS:
        return LIST(SCALARS[match[1]])
    raise ValueError(f"{text!r} is not a type: use {', '.join(SCALARS)}, EMBEDDING(n) or LIST(type)")


def read_value(dtype: str, value: Any) -> Any:
    """A value of a type out of its JSON form, which has no instants; what is not of the type is left as it is.

    Raises:
        ValueError: if a text that stands for an instant is not one.
    """
    if dtype == "TIMESTAMP" and isinstance(value, str):
        return datetime.fromisoformat(value)
    if dtype == "LIST(TIMESTAMP)" and isinstance(value, list):
        return [read_value("TIMESTAMP", item) for item in value]
    return value


def to_micros(instant: datetime) -> int:
    """Microseconds since the epoch of an aware datetime.

    Raises:
        ValueError: if the datetime is naive.
    """
    if instant.tzinfo is None:
        raise ValueError(f"{instant.isoformat()} has no time zone: add an offset, such as +00:00")
    return (instant - EPOCH) // timedelta(microseconds=1)


def from_micros(micros: int) -> datetime:
    """The UTC datetime of microseconds since the epoch."""
    return EPOCH + timedelta(microseconds=micros)


def arrow_type(dtype: DType) -> pa.DataType:
    """The Arrow type that holds a column of this type in tables and training datasets."""
    import pyarrow as pa

    match dtype.kind:
        case "STRING":
            return pa.string()
        case "INT":
            return pa.int64()
        case "FLOAT":
            return pa.float64()
        case "BOOL":
            return pa.bool_()
        case "TIMESTAMP":
            return pa.timestamp("us", tz="UTC")
        case "EMBEDDING":
            return pa.list_(pa.float32())
        case _:
            assert dtype.item is not None
            return pa.list_(arrow_type(dtype.item))
