"""Feature columns of a training set under construction: filled bucket by bucket, in any order, from several threads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_store.dtypes import arrow_type
from feature_store.plan.schema import Column

Int64s = NDArray[np.int64]

_NUMPY_TYPES = {"INT": np.int64, "FLOAT": np.float64, "TIMESTAMP": np.int64, "BOOL": np.bool_}
_ROWS_PER_CHUNK = 1_000_000


@dataclass(frozen=True)
class Finished:
    """A feature for all labels: `missing` of them found no value, or NULL, and hold the default or NULL."""

    values: pa.ChunkedArray
    missing: int


class OutputColumn(Protocol):
    """One feature of all labels."""

    def put(self, positions: Int64s, values: pa.Array) -> None:
        """Sets the values of the labels at some positions, each of which is set at most once."""

    def finish(self) -> Finished:
        """The whole column; labels that were never set are missing."""


def output_column(feature: Column, rows: int) -> OutputColumn:
    """An empty column for so many labels."""
    return _FixedWidth(feature, rows) if feature.dtype.kind in _NUMPY_TYPES else _VariableWidth(feature, rows)


class _FixedWidth:
    """Values written straight to their place: one pass over memory, no copy afterwards."""

    def __init__(self, feature: Column, rows: int) -> None:
        self._type = arrow_type(feature.dtype)
        self._default = feature.default
        self._fill = pa.scalar(False if feature.dtype.kind == "BOOL" else 0).cast(self._storage)
        if feature.default is not None:
            self._fill = pa.scalar(feature.default, self._type).cast(self._storage)
        self._values: NDArray[Any] = np.full(rows, self._fill.as_py(), _NUMPY_TYPES[feature.dtype.kind])
        self._is_present = np.zeros(rows, np.bool_)

    @property
    def _storage(self) -> pa.DataType:
        return pa.int64() if pa.types.is_timestamp(self._type) else self._type

    def put(self, positions: Int64s, values: pa.Array) -> None:
        stored = values.cast(self._storage)
        if stored.null_count:
            self._is_present[positions] = pc.is_valid(stored).to_numpy(zero_copy_only=False)
            stored = pc.fill_null(stored, self._fill)
        else:
            self._is_present[positions] = True
        self._values[positions] = stored.to_numpy(zero_copy_only=False)

    def finish(self) -> Finished:
        missing = len(self._is_present) - int(np.count_nonzero(self._is_present))
        mask = None if self._default is not None or not missing else ~self._is_present
        values = pa.array(self._values, self._storage, mask=mask)
        return Finished(pa.chunked_array([values.cast(self._type)]), missing)


class _VariableWidth:
    """Text and lists: their places are known only when all are there."""

    def __init__(self, feature: Column, rows: int) -> None:
        self._type = arrow_type(feature.dtype)
        self._default = feature.default
        self._rows = rows
        self._parts: list[tuple[Int64s, pa.Array]] = []

    def put(self, positions: Int64s, values: pa.Array) -> None:
        self._parts.append((positions, values))

    def finish(self) -> Finished:
        values = pa.concat_arrays([part for _, part in self._parts]) if self._parts else pa.nulls(0, self._type)
        places = np.full(self._rows, -1, np.int64)
        if self._parts:
            places[np.concatenate([positions for positions, _ in self._parts])] = np.arange(len(values))
        chunks, missing = [pa.nulls(0, self._type)], 0
        # Chunk by chunk, so that no single array of text outgrows its 32 bit offsets.
        for start in range(0, self._rows, _ROWS_PER_CHUNK):
            place = places[start : start + _ROWS_PER_CHUNK]
            chunk = values.take(pa.array(place, mask=place < 0)).cast(self._type)
            missing += chunk.null_count
            chunks.append(chunk if self._default is None else pc.fill_null(chunk, pa.scalar(self._default, self._type)))
        return Finished(pa.chunked_array(chunks, self._type), missing)
