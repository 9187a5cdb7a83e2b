"""Whether two results are the same, on a sample of the labels."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from benchmarks.training.setting import RESULT

_SAMPLE = 50_000
NUMBER = "number"
_HASH = "hash"


def sample(folder: Path, labels: int, like: pl.DataFrame | None = None) -> pl.DataFrame:
    """The rows of some labels of the result in a folder, by their number, with a hash of all their values.

    Args:
        like: the sample of another result, whose columns and types it is to have; NaN counts as NULL.
    """
    rows = pl.scan_parquet(folder / RESULT / "**" / "*.parquet").filter(pl.col(NUMBER) % max(labels // _SAMPLE, 1) == 0)
    found = rows.collect()
    if like is not None:
        schema = {name: dtype for name, dtype in like.schema.items() if name != _HASH}
        found = found.select(list(schema)).cast(schema)
    found = found.with_columns(pl.col(pl.Float64).fill_nan(None)).sort(NUMBER)
    return found.with_columns(found.hash_rows(1).alias(_HASH))


def differing(expected: pl.DataFrame, found: pl.DataFrame) -> int:
    """How many labels of a sample have another row, none, or several."""
    again = found.height - found[NUMBER].n_unique()
    of_each = found.unique(NUMBER, keep="first").select(NUMBER, pl.col(_HASH).alias("found"))
    both = expected.select(NUMBER, _HASH).join(of_each, on=NUMBER, how="left")
    return both.filter(pl.col(_HASH).ne_missing(pl.col("found"))).height + again
