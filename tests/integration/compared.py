"""The comparison of an engine's rows with the reference's, and how many generated cases were compared.

The counts are printed at the end of the integration tests.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from feature_store.compile.reference_events import Row

COMPARED: Counter[str] = Counter()
"""By what was compared."""


def assert_same_rows(found: list[Row], expected: list[Row], keys: Sequence[str]) -> None:
    """Fails unless the rows are the same ones, in whatever order; floats to 1e-9."""

    def order(row: Row) -> Any:
        return row["feature_timestamp"], [str(row[key]) for key in keys]

    found, expected = sorted(found, key=order), sorted(expected, key=order)
    assert [order(row) for row in found] == [order(row) for row in expected]
    for row, wanted in zip(found, expected, strict=True):
        for name, value in wanted.items():
            if isinstance(value, float) and row[name] is not None:
                assert math.isclose(row[name], value, rel_tol=1e-9, abs_tol=1e-9), (name, row, wanted)
            else:
                assert row[name] == value, (name, row, wanted)
