"""What the features of a dataset look like, gathered while its pieces are written, in one pass and little memory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from feature_store.datasets.manifest import FeatureStatistics, Scalar, TopValue

_SKETCH = 1024
"""Hashes kept of a feature, the least ones: the k-th of them says how close together the hashes of all values lie."""
_TOP_KEPT, _TOP_SHOWN = 100, 10
_HASHES = float(2**64)

Hashes = NDArray[np.uint64]


@dataclass
class FeatureSketch:
    """What is known of a feature after some rows; sketches of different rows can be put together."""

    count: int = 0
    nulls: int = 0
    minimum: Any = None
    maximum: Any = None
    mean: float | None = None
    squares: float = 0.0  # the sum of the squares of the distances from the mean
    hashes: Hashes | None = None
    top: Counter[Scalar] | None = None

    def merge(self, other: FeatureSketch) -> FeatureSketch:
        """The sketch of the rows of both."""
        numbers = self._moments(other)
        lows = [low for low in (self.minimum, other.minimum) if low is not None]
        highs = [high for high in (self.maximum, other.maximum) if high is not None]
        hashes = [kept for kept in (self.hashes, other.hashes) if kept is not None]
        tops = [top for top in (self.top, other.top) if top is not None]
        return FeatureSketch(
            self.count + other.count,
            self.nulls + other.nulls,
            min(lows, default=None),
            max(highs, default=None),
            *numbers,
            pl.Series(np.concatenate(hashes)).unique().sort().head(_SKETCH).to_numpy() if hashes else None,
            sum(tops, Counter()) if tops else None,
        )

    def _moments(self, other: FeatureSketch) -> tuple[float | None, float]:
        if self.mean is None or other.mean is None:
            known = self if other.mean is None else other
            return known.mean, known.squares
        ours, theirs = self.count - self.nulls, other.count - other.nulls
        apart = other.mean - self.mean
        mean = self.mean + apart * (theirs / (ours + theirs))
        return mean, self.squares + other.squares + apart * apart * (ours * theirs / (ours + theirs))

    def statistics(self) -> FeatureStatistics:
        """What the manifest says."""
        values = self.count - self.nulls
        spread = math.sqrt(self.squares / (values - 1)) if self.mean is not None and values > 1 else None
        ranked = sorted((self.top or {}).items(), key=lambda item: (-item[1], str(item[0])))
        return FeatureStatistics(
            nulls=self.nulls,
            minimum=_plain(self.minimum),
            maximum=_plain(self.maximum),
            mean=_finite(self.mean),
            stddev=_finite(spread),
            distinct=None if self.hashes is None else _distinct(self.hashes),
            top=tuple(TopValue(value, count) for value, count in ranked[:_TOP_SHOWN]),
        )


@dataclass
class TableSketch:
    """The sketches of some columns of a table."""

    features: dict[str, FeatureSketch] = field(default_factory=dict)

    def add(self, table: pa.Table, names: Sequence[str]) -> None:
        """Adds rows; `names` are those of the columns that are features."""
        for name in names:
            found = _sketch(table[name])
            self.features[name] = self.features[name].merge(found) if name in self.features else found

    def merge(self, other: TableSketch) -> None:
        """Adds the rows of another one."""
        for name, found in other.features.items():
            self.features[name] = self.features[name].merge(found) if name in self.features else found

    def statistics(self) -> dict[str, FeatureStatistics]:
        """What the manifest says of each."""
        return {name: sketch.statistics() for name, sketch in self.features.items()}


def _sketch(column: pa.ChunkedArray) -> FeatureSketch:
    dtype = column.type
    sketch = FeatureSketch(len(column), column.null_count)
    if pa.types.is_nested(dtype) or sketch.nulls == sketch.count:
        return sketch
    values = pl.Series(column)
    sketch.hashes = _least_hashes(values)
    if pa.types.is_boolean(dtype) or pa.types.is_string(dtype):
        sketch.top = _top(values)
    else:
        sketch.minimum, sketch.maximum = values.min(), values.max()
    if pa.types.is_integer(dtype) or pa.types.is_floating(dtype):
        floats = values.cast(pl.Float64)
        mean: Any = floats.mean()
        variance: Any = floats.var(ddof=0)
        sketch.mean, sketch.squares = mean, variance * (sketch.count - sketch.nulls)
    return sketch


def _least_hashes(values: pl.Series) -> Hashes:
    """The least hashes of values that are not NULL, sorted."""
    hashes = values.hash()
    if values.null_count():
        hashes = hashes.filter(values.is_not_null())
    share = 4 * _SKETCH / len(hashes)
    if share < 1:  # where there are many different values, enough of their hashes are so small
        least = hashes.filter(hashes < int(share * _HASHES)).unique()
        if len(least) >= _SKETCH:
            return least.sort().head(_SKETCH).to_numpy()
    return hashes.unique().sort().head(_SKETCH).to_numpy()


def _distinct(hashes: Hashes) -> int:
    if len(hashes) < _SKETCH:
        return len(hashes)
    return round((_SKETCH - 1) * _HASHES / (float(hashes[-1]) + 1))


def _top(values: pl.Series) -> Counter[Scalar]:
    counts = values.drop_nulls().rename("value").value_counts(name="count")
    kept = counts.sort("count", "value", descending=[True, False]).head(_TOP_KEPT)
    return Counter(dict(kept.iter_rows()))


def _plain(value: Any) -> Scalar | None:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return _finite(value) if isinstance(value, float) else value


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
