"""How the values of a feature are spread, in training and in serving, over the same bins.

A feature is looked at by one facet or two: numbers, times, text and truth by value, embeddings by their norm and their
cosine distance to training's centroid, lists by their length and their members.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_store.dtypes import DType

Floats: TypeAlias = "NDArray[np.float64]"
Counts: TypeAlias = "NDArray[np.int64]"

BINS = 20
REST = "others"


@dataclass(frozen=True)
class Summary:
    """Of one side: how many values, the share that is NULL, and the mean and standard deviation of numbers."""

    count: int
    null_rate: float
    mean: float | None
    stddev: float | None


@dataclass(frozen=True)
class Histogram:
    """One facet of a feature on both sides, over the same bins.

    Attributes:
        facet: what is counted: value, norm, distance, length or members.
        labels: of each bin: its upper bound, or its value.
        numbers: the numbers that were put into the bins, of training and of serving; None for categories.
    """

    facet: str
    labels: tuple[str, ...]
    training: Counts
    serving: Counts
    numbers: tuple[Floats, Floats] | None = None


def summary(values: pa.Array, dtype: DType) -> Summary:
    """The summary of the values of one side."""
    numbers = _numbers(values) if dtype.kind in ("INT", "FLOAT") else np.empty(0)
    return Summary(
        count=len(values),
        null_rate=values.null_count / len(values) if len(values) else 0.0,
        mean=float(numbers.mean()) if len(numbers) else None,
        stddev=float(numbers.std()) if len(numbers) else None,
    )


def histograms(training: pa.Array, serving: pa.Array, dtype: DType) -> tuple[Histogram, ...]:
    """The facets of a feature; NULL values are in none of them."""
    training, serving = training.drop_null(), serving.drop_null()
    match dtype.kind:
        case "STRING" | "BOOL":
            return (_categories("value", training.to_pylist(), serving.to_pylist()),)
        case "EMBEDDING":
            return _embeddings(_vectors(training, dtype), _vectors(serving, dtype))
        case "LIST":
            lengths = [_numbers(pc.list_value_length(side)) for side in (training, serving)]
            members = [pc.list_flatten(side).drop_null().to_pylist() for side in (training, serving)]
            return _of_numbers("length", *lengths), _categories("members", *members)
        case _:
            return (_of_numbers("value", _numbers(training), _numbers(serving)),)


def _numbers(values: pa.Array) -> Floats:
    """The values that are there as numbers; times in seconds."""
    is_time = pa.types.is_timestamp(values.type)
    plain = values.drop_null().cast(pa.int64()) if is_time else values.drop_null()
    numbers: Floats = plain.to_numpy(zero_copy_only=False).astype(np.float64)
    return numbers / 1e6 if is_time else numbers


def _vectors(values: pa.Array, dtype: DType) -> Floats:
    """Embeddings as a matrix, one in each row."""
    return np.array(values.to_pylist(), np.float64).reshape(len(values), dtype.size or 0)


def _embeddings(training: Floats, serving: Floats) -> tuple[Histogram, ...]:
    norms = [np.linalg.norm(side, axis=1) for side in (training, serving)]
    if not len(training):
        return (_of_numbers("norm", *norms),)
    centroid = training.mean(axis=0)
    distances = [_cosine_distances(side, norm, centroid) for side, norm in zip((training, serving), norms, strict=True)]
    return _of_numbers("norm", *norms), _of_numbers("distance", *distances)


def _cosine_distances(vectors: Floats, norms: Floats, centroid: Floats) -> Floats:
    """1 - cosine of the angle to the centroid; 1 for a vector of zeros, which has no direction."""
    scale = norms * np.linalg.norm(centroid)
    cosines: Floats = np.divide(vectors @ centroid, scale, out=np.zeros(len(vectors)), where=scale > 0)
    return 1 - cosines


def _of_numbers(facet: str, training: Floats, serving: Floats) -> Histogram:
    """Over bins that hold equal shares of training, or a value each where there are few, and what lies outside."""
    numbers = training if len(training) else serving
    edges, labels = (_edges(numbers), _edge_labels(numbers)) if len(numbers) else (np.empty(0), ("all",))
    return Histogram(
        facet=facet,
        labels=labels,
        training=np.bincount(np.searchsorted(edges, training), minlength=len(labels)),
        serving=np.bincount(np.searchsorted(edges, serving), minlength=len(labels)),
        numbers=(training, serving),
    )


def _edges(numbers: Floats) -> Floats:
    """The upper bounds (closed) of all bins but the last; the first bin is below all numbers, the last above them."""
    inner = np.unique(numbers)
    if len(inner) > BINS:
        inner = np.unique(np.quantile(numbers, np.linspace(0, 1, BINS + 1)[1:]))
    return np.concatenate([[np.nextafter(numbers.min(), -np.inf)], inner])


def _edge_labels(numbers: Floats) -> tuple[str, ...]:
    inner = _edges(numbers)[1:]
    return f"< {numbers.min():.6g}", *(f"<= {edge:.6g}" for edge in inner), f"> {inner[-1]:.6g}"


def _categories(facet: str, training: Sequence[Any], serving: Sequence[Any]) -> Histogram:
    """Over the values with the greatest shares on both sides together, and the rest."""
    counts = Counter(training), Counter(serving)

    def share(value: Any) -> float:
        return sum(side[value] / max(side.total(), 1) for side in counts)

    top = sorted({*counts[0], *counts[1]}, key=lambda value: (-share(value), str(value)))[: BINS - 1]
    return Histogram(facet, (*map(str, top), REST), _counts(counts[0], top), _counts(counts[1], top))


def _counts(side: Counter[Any], top: Sequence[Any]) -> Counts:
    """How often each of the top values is there, and all others together."""
    counts = [side[value] for value in top]
    return np.array([*counts, side.total() - sum(counts)])
