"""What a dataset looks like, from a part of its rows: bounds, means and histograms of labels and features."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from feature_store.offline.profile import BINS, FeatureProfile, Profile
from feature_store.pit.dataset import TrainingDataset

MOST_ROWS = 200_000
_PREVIEW = 5


def profile_dataset(made: TrainingDataset) -> tuple[Profile, list[dict[str, Any]]]:
    """The profile of the numeric columns of the first rows, and some of them to look at.

    Masked features are left out of it.
    """
    rows = _first_rows(made)
    numeric = [name for name, dtype in rows.schema.items() if dtype.is_numeric() or dtype == pl.Boolean]
    features = tuple(_profiled(name, rows[name]) for name in numeric if name not in made.masked)
    return Profile(rows.height, 0, 0, features), rows.head(_PREVIEW).to_dicts()


def _first_rows(made: TrainingDataset) -> pl.DataFrame:
    rows = pl.from_arrow(pa.Table.from_batches(islice(made.batches(MOST_ROWS), 1), made.schema))
    assert isinstance(rows, pl.DataFrame)
    return rows


def _profiled(name: str, column: pl.Series) -> FeatureProfile:
    numbers = column.cast(pl.Float64).drop_nulls().to_numpy()
    numbers = numbers[np.isfinite(numbers)]
    nulls = len(column) - len(numbers)
    if not len(numbers):
        return FeatureProfile(name, nulls, 1.0)
    counts, edges = np.histogram(numbers, BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    return FeatureProfile(
        name=name,
        nulls=nulls,
        null_rate=nulls / len(column),
        minimum=float(numbers.min()),
        maximum=float(numbers.max()),
        mean=float(numbers.mean()),
        histogram=tuple((float(at), float(count)) for at, count in zip(centres, counts, strict=True) if count),
    )
