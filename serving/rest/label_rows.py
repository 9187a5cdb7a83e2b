"""Label rows in a request: JSON or MessagePack, with instants where a column is of that type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from feature_store.dtypes import from_micros, read_value
from feature_store.errors import InputError
from feature_store.pit.label_sources import ADD_ZONE, needed_types
from feature_store.plan.schema import ViewSchema


def label_rows(view: ViewSchema, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows as the join takes them; who reads them checks the types.

    Raises:
        InputError: if a text is no instant, or has no time zone; names row and column.
    """
    instants = [name for name, dtype in needed_types(view).items() if dtype.kind == "TIMESTAMP"]
    found = [dict(row) for row in rows]
    for number, row in enumerate(found):
        for name in instants:
            if row.get(name) is not None:
                row[name] = _instant(row[name], f"labels row {number}, column {name!r}")
    return found


def _instant(value: Any, where: str) -> Any:
    """RFC 3339 text, or microseconds since the epoch."""
    try:
        read = from_micros(value) if isinstance(value, int) and value is not True else read_value("TIMESTAMP", value)
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"{str(value)[:80]!r} is no instant: {error}",
            where=where,
            remedy="write 2026-01-31T12:00:00Z, or microseconds since the epoch",
            code="not-an-instant",
        ) from None
    if isinstance(read, datetime) and read.tzinfo is None:
        raise InputError(f"{str(value)[:80]!r} has no time zone", where=where, remedy=ADD_ZONE, code="naive-timestamp")
    return read
