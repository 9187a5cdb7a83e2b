"""Vectors as a matrix for a model server: numbers only, embeddings side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from feature_store.errors import InputError
from feature_store.plan.schema import Column

if TYPE_CHECKING:
    from feature_store.online.vectors import MatrixType, OnlineVectors

_STORED = np.dtype("<f4")
"""An element of an EMBEDDING as it is stored."""


def matrix_of(
    vectors: OnlineVectors, features: Sequence[str] | None, dtype: MatrixType
) -> np.ndarray[tuple[int, int], np.dtype[np.floating[Any]]]:
    """The matrix of `OnlineVectors.to_numpy`.

    Raises:
        InputError: as there.
    """
    columns = _numeric(vectors, features)
    if dtype not in ("float32", "float64"):
        raise InputError(
            f"a matrix of {dtype!r} cannot hold NULL and fractions",
            where="dtype",
            remedy='use "float32" or "float64", and convert the matrix',
            code="matrix-type",
        )
    matrix: np.ndarray[tuple[int, int], np.dtype[np.floating[Any]]]
    matrix = np.empty((len(vectors), sum(map(_width, columns))), dtype=dtype)
    stored = {feature.name: (part, i) for part in vectors.groups for i, feature in enumerate(part.group.features)}
    computed = dict(zip((column.name for column in vectors.view.on_demand), vectors.on_demand, strict=True))
    places = {part.group.id: np.array(part.places) for part in vectors.groups if part.places is not None}
    start = 0
    with np.errstate(over="ignore"):  # what is beyond float32 is infinite
        for column in columns:
            end = start + _width(column)
            if column.name in computed:
                found = _numbers(column, computed[column.name])
            else:
                part, place = stored[column.name]
                values = [row[place] for row in part.entities.rows]
                if part.places is None:
                    found = _numbers(column, values)
                else:
                    found = _numbers(column, [*values, part.absent[place]])[
                        places[part.group.id]
                    ]  # the last: NO_ENTITY
            matrix[:, start:end] = found
            start = end
    return matrix


def matrix_columns(vectors: OnlineVectors, features: Sequence[str] | None) -> list[str]:
    """The names of `OnlineVectors.matrix_columns`.

    Raises:
        InputError: as there.
    """
    return [name for column in _numeric(vectors, features) for name in _names(column)]


def _numeric(vectors: OnlineVectors, features: Sequence[str] | None) -> list[Column]:
    known = {column.name: column for column in vectors.outputs}
    wanted = list(known) if features is None else list(features)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise InputError(
            f"no feature {', '.join(unknown)}",
            where=f"view {vectors.view.id}",
            remedy="see vectors.outputs",
            code="not-in-view",
        )
    columns = [known[name] for name in wanted]
    other = [f"{each.name} ({each.dtype})" for each in columns if not (each.dtype.is_numeric or each.dtype.size)]
    if other:
        raise InputError(
            f"not numeric: {', '.join(other)}",
            where=f"view {vectors.view.id}",
            remedy="name the numeric features, to_numpy([...]), or use to_arrow()",
            code="not-numeric",
        )
    return columns


def _numbers(column: Column, values: Sequence[Any]) -> np.ndarray[tuple[int, int], np.dtype[np.floating[Any]]]:
    """The values of a feature as its columns of the matrix; those of an EMBEDDING are as they are stored."""
    if column.dtype.size is None:
        return np.array(values, dtype=np.float64).reshape(-1, 1)  # None becomes NaN
    missing = np.full(column.dtype.size, np.nan, _STORED).tobytes()
    raw = b"".join([missing if value is None else value for value in values])
    return np.frombuffer(raw, _STORED).reshape(-1, column.dtype.size)


def _width(column: Column) -> int:
    return column.dtype.size or 1


def _names(column: Column) -> Iterator[str]:
    if column.dtype.size is None:
        yield column.name
    else:
        yield from (f"{column.name}[{i}]" for i in range(column.dtype.size))
