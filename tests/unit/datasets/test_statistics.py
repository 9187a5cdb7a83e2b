"""Statistics of features, piece by piece, compared with plain Python over all values."""

from __future__ import annotations

import statistics
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.datasets.manifest import FeatureStatistics
from feature_store.datasets.statistics import FeatureSketch, TableSketch

floats = st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: value + 0.0)
INSTANT = pa.timestamp("us", "UTC")
COLUMNS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "INT": (pa.int64(), st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3)),
    "FLOAT": (pa.float64(), floats),
    "BOOL": (pa.bool_(), st.booleans()),
    "STRING": (pa.string(), st.sampled_from(["", "a", "b", "ü"])),
    "TIMESTAMP": (INSTANT, st.integers(0, 10).map(lambda n: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=n))),
    "LIST": (pa.list_(pa.string()), st.just(["a"])),
}


def of(values: list[Any], dtype: pa.DataType, cut: int) -> FeatureStatistics:
    """In pieces of `cut` rows, put together two by two."""
    parts = []
    for start in range(0, len(values), cut):
        part = TableSketch()
        part.add(pa.table({"f": pa.array(values[start : start + cut], dtype)}), ["f"])
        parts.append(part)
    whole = TableSketch()
    for part in parts:
        whole.merge(part)
    return whole.statistics()["f"]


@settings(max_examples=100, deadline=None)
@given(data=st.data(), kind=st.sampled_from(sorted(COLUMNS)), cut=st.integers(1, 9))
def test_pieces_have_the_statistics_of_all_values(data: st.DataObject, kind: str, cut: int) -> None:
    dtype, strategy = COLUMNS[kind]
    values = data.draw(st.lists(st.none() | strategy, min_size=1, max_size=30))
    known = [value for value in values if value is not None]
    found = of(values, dtype, cut)
    assert found.nulls == len(values) - len(known)
    if kind == "LIST" or not known:
        assert found == FeatureStatistics(nulls=found.nulls)
        return
    assert found.distinct == len(set(known))
    if kind in ("BOOL", "STRING"):
        assert {top.value: top.count for top in found.top} == Counter(known)
        assert [top.count for top in found.top] == sorted(Counter(known).values(), reverse=True)
        return
    shown = [value.isoformat() if kind == "TIMESTAMP" else value for value in (min(known), max(known))]
    assert [found.minimum, found.maximum] == shown
    if kind in ("INT", "FLOAT"):
        scale = max(map(abs, known)) + 1
        assert found.mean == pytest.approx(statistics.fmean(known), abs=1e-9 * scale)
        deviation = None if len(known) < 2 else statistics.stdev([float(value) for value in known])
        assert found.stddev == (None if deviation is None else pytest.approx(deviation, abs=1e-6 * scale))


@pytest.mark.parametrize("distinct", [900, 5_000, 300_000])
def test_many_different_values_are_estimated(distinct: int) -> None:
    values = np.arange(400_000) * 7919 % distinct
    sketches = TableSketch()
    for part in np.array_split(values, 3):
        sketches.add(pa.table({"n": part, "s": [f"value {n}" for n in part]}), ["n", "s"])
    found = sketches.statistics()
    for name in ("n", "s"):
        estimate = found[name].distinct
        assert estimate is not None
        assert abs(estimate - distinct) <= (0 if distinct < 1_000 else 0.15 * distinct)


def test_numbers_that_json_has_not_are_left_out() -> None:
    huge = of([1e308, 1e308, -1e308], pa.float64(), 2)
    assert (huge.minimum, huge.maximum) == (-1e308, 1e308)
    assert huge.stddev is None
    assert b"Infinity" not in msgspec.json.encode(huge)
    assert FeatureSketch().statistics() == FeatureStatistics(nulls=0)
