"""Tables without the values that a reader must not see."""

from __future__ import annotations

from collections.abc import Set

import pyarrow as pa


def with_nulls(table: pa.Table, masked: Set[str]) -> pa.Table:
    """The table with NULL in all rows of some columns."""
    for place, field in enumerate(table.schema):
        if field.name in masked:
            table = table.set_column(place, field.with_nullable(True), pa.nulls(table.num_rows, field.type))
    return table
