"""Which rows of a dataset a reader gives: a span of time, a sample. Each row is decided by itself, so by any reader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_store.dtypes import to_micros

LABEL_TIMESTAMP = "label_timestamp"

Mask = NDArray[np.bool_]


class RowFilter(Protocol):
    """Decides for each row whether it is read; `columns` are those that it looks at."""

    @property
    def columns(self) -> tuple[str, ...]: ...

    def mask(self, table: pa.Table, first_row: int, /) -> Mask:
        """Which rows of a table are read; `first_row` is the place of the first of them in the dataset."""


@dataclass(frozen=True)
class TimeSpan:
    """The rows with `start <= label_timestamp < end`; None: no bound."""

    start: datetime | None = None
    end: datetime | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        return (LABEL_TIMESTAMP,)

    def mask(self, table: pa.Table, _first_row: int, /) -> Mask:
        times = label_times(table)
        kept = np.ones(len(times), np.bool_)
        if self.start is not None:
            kept &= times >= to_micros(self.start)
        if self.end is not None:
            kept &= times < to_micros(self.end)
        return kept


@dataclass(frozen=True)
class Sample:
    """A share of the rows, each kept or not by a random number that its place and the seed decide.

    Attributes:
        share: of all rows, or by the value of the column `by`; rows of other values are left out.
        stream: which sample of a sample it is, so that each one draws anew.
    """

    share: float | Mapping[Any, float]
    seed: int
    by: str = ""
    stream: int = 0
    _classes: tuple[tuple[Any, float], ...] = field(init=False, repr=False, default=())

    def __post_init__(self) -> None:
        if isinstance(self.share, Mapping):
            object.__setattr__(self, "_classes", tuple(self.share.items()))

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.by,) if self.by else ()

    def mask(self, table: pa.Table, first_row: int, /) -> Mask:
        drawn = uniform(np.arange(first_row, first_row + table.num_rows, dtype=np.uint64), self.seed, self.stream)
        if not isinstance(self.share, Mapping):
            return np.asarray(drawn < self.share)
        column = table[self.by]
        kept = np.zeros(table.num_rows, np.bool_)
        for value, share in self._classes:
            kept |= _equal(column, value) & (drawn < share)
        return kept


def uniform(places: NDArray[np.uint64], seed: int, stream: int = 0) -> NDArray[np.float64]:
    """A number in [0, 1) for each place, always the same one: SplitMix64 of place, seed and stream."""
    with np.errstate(over="ignore"):
        start = _mixed(np.array([seed % 2**64], np.uint64) + np.uint64(stream) * np.uint64(0xD1342543DE82EF95))
        return (_mixed(places + start) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def label_times(table: pa.Table) -> NDArray[np.int64]:
    """The times of labels, in microseconds."""
    return np.asarray(table[LABEL_TIMESTAMP].cast(pa.int64()).to_numpy())


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    numbers = numbers * np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def _equal(column: pa.ChunkedArray, value: Any) -> Mask:
    found = (
        pc.is_null(column) if value is None else pc.fill_null(pc.equal(column, pa.scalar(value, column.type)), False)
    )
    return np.asarray(found.to_numpy())
