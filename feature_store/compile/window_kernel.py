"""Windows slid over tiles with numpy: the rows of many entities at once, each aggregate recomputed from its live tiles.

A tile is found by one number, its entity's and its slide's, in the order in which the tiles lie. So the tiles that are
live at a point, those with `t - window < tile_end <= t`, are a range between two binary searches, and an aggregate is
one `reduceat` over all ranges. Sums of FLOATs are added up anew for each point, as everywhere: they must not drift.

This module stands alone, on numpy and Arrow, because Spark ships it to its workers by value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Int64s = NDArray[np.int64]
_TILES, _POINTS, _BATCH, _BLOCK = 200_000, 1_000_000, 100_000, 1_000_000  # at a time; each is some hundred bytes
_LOW = 2**32 - 1


@dataclass(frozen=True)
class SlidFeature:
    """An aggregate over a window (microseconds; None: all time), and the columns of a tile that it is made of."""

    name: str
    function: str
    window: int | None
    partials: tuple[str, ...]


@dataclass(frozen=True)
class Sliding:
    """What is computed: the feature timestamps with `after < t <= until` (microseconds) of a group.

    Args:
        first: the history begins with this span: every entity whose windows hold something gets a row at its first t.
        every: a row at every t from an entity's first one on, not only where something changes.
        hits: by window, the column of how many events a window has seen of a tile.
    """

    keys: tuple[str, ...]
    slide: int
    after: int
    until: int
    first: bool
    every: bool
    hits: tuple[tuple[int | None, str], ...]
    features: tuple[SlidFeature, ...]


def slide_batches(sliding: Sliding, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The rows of a worker's tiles, which come entity by entity in order; a bounded number of them at a time."""
    instants = (sliding.until - sliding.after) // sliding.slide
    enough = max(1, _POINTS // instants) if sliding.every else _TILES
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in filter(len, batches):
        begins = int(np.flatnonzero(_heads(pa.table(batch), sliding.keys))[-1])  # where the batch's last entity does
        goes_on = not begins and bool(held) and _keys_at(held[-1], -1, sliding.keys) == _keys_at(batch, 0, sliding.keys)
        if held and not goes_on and rows + begins >= enough:
            yield from _slid(sliding, [*held, batch.slice(0, begins)])
            held, rows = [], 0
            batch = batch.slice(begins)
        held.append(batch)
        rows += len(batch)
    if held:
        yield from _slid(sliding, held)


def _slid(sliding: Sliding, tiles: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    rows: list[pa.RecordBatch] = slide_windows(sliding, pa.Table.from_batches(tiles)).to_batches(_BATCH)
    return rows


def _keys_at(batch: pa.RecordBatch, row: int, keys: tuple[str, ...]) -> list[Any]:
    return [batch[key][row % len(batch)].as_py() for key in keys]


def slide_windows(sliding: Sliding, tiles: pa.Table) -> pa.Table:
    """The keys, `t` and the features at every point.

    Args:
        tiles: all tiles of some entities, sorted by key and `tile_end`.
    """
    tiles = tiles.combine_chunks()
    heads = _heads(tiles, sliding.keys)
    entity = np.cumsum(heads) - 1
    ends = tiles["tile_end"].to_numpy()
    base = int(ends.min()) - sliding.slide
    width = (sliding.until - base) // sliding.slide + 1
    places = entity * width + (ends - base) // sliding.slide
    starts = np.flatnonzero(heads)
    points = _points_of_all(sliding, ends[starts], base, width) if sliding.every else None
    if points is None:
        points = _points_of_changes(sliding, tiles, entity, ends, base, width)
    owner, slot = points // width, points % width
    high = np.searchsorted(places, points, "right")
    low: dict[int | None, Int64s] = {}
    for window, _ in sliding.hits:
        earliest = 0 if window is None else np.maximum(slot - window // sliding.slide, 0)
        low[window] = np.searchsorted(places, owner * width + earliest, "right")
    columns: dict[str, Any] = {key: _column(tiles, key).take(pa.array(starts[owner])) for key in sliding.keys}
    columns["t"] = pa.array(base + slot * sliding.slide)
    for feature in sliding.features:
        partials = [_column(tiles, name) for name in feature.partials]
        columns[feature.name] = _AGGREGATES[feature.function](partials, low[feature.window], high)
    return pa.table(columns)


def _heads(tiles: pa.Table, keys: tuple[str, ...]) -> NDArray[np.bool_]:
    """Where an entity's tiles begin."""
    heads = np.zeros(len(tiles), bool)
    heads[:1] = True
    for key in keys:
        column = _column(tiles, key)
        differs = pc.not_equal(column.slice(1), column.slice(0, max(len(column) - 1, 0)))
        heads[1:] |= differs.to_numpy(zero_copy_only=False)
    return heads


def _points_of_changes(
    sliding: Sliding, tiles: pa.Table, entity: Int64s, ends: Int64s, base: int, width: int
) -> Int64s:
    """Where a tile enters or leaves a window; at the begin of a history also where one stands."""

    def place(chosen: NDArray[np.bool_], times: Int64s) -> Int64s:
        return entity[chosen] * width + (times[chosen] - base) // sliding.slide

    begin = sliding.after + sliding.slide
    places = [place(ends > sliding.after, ends)]
    for window, column in sliding.hits:
        seen = tiles[column].to_numpy() > 0
        if window is not None:
            leaves = ends + window
            places.append(place(seen & (leaves > sliding.after) & (leaves <= sliding.until), leaves))
        if sliding.first:
            alive = seen & (ends < begin) & (window is None or ends > begin - (window or 0))
            places.append(place(alive, np.full_like(ends, begin)))
    return np.unique(np.concatenate(places))


def _points_of_all(sliding: Sliding, first_ends: Int64s, base: int, width: int) -> Int64s:
    """Every t of every entity from its first tile's end on."""
    firsts = (np.maximum(first_ends, sliding.after + sliding.slide) - base) // sliding.slide
    counts = width - firsts
    owner = np.repeat(np.arange(len(firsts)), counts)
    step = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    places: Int64s = owner * width + firsts[owner] + step
    return places


def _column(tiles: pa.Table, name: str) -> pa.Array:
    column = tiles[name]
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


Ranges = Int64s
Aggregate = Callable[[list[pa.Array], Ranges, Ranges], pa.Array]


def _fold(fold: np.ufunc, values: NDArray[Any], nothing: Any, low: Ranges, high: Ranges) -> NDArray[Any]:
    """A function folded over each range of values; of an empty range, `nothing`."""
    if not len(low):
        return values[:0]
    bounds = np.empty(2 * len(low), np.int64)
    bounds[::2], bounds[1::2] = low, high
    folded = fold.reduceat(np.append(values, values.dtype.type(nothing)), bounds)[::2]
    folded[low == high] = nothing
    return folded


def _running(values: Int64s, low: Ranges, high: Ranges) -> Int64s:
    """The sums of ranges of integers, which fit; sums of all before may wrap, which their difference undoes."""
    sums = np.concatenate([[0], np.cumsum(values)])
    difference: Int64s = sums[high] - sums[low]
    return difference


def _numbers(column: pa.Array, fill: Any) -> NDArray[Any]:
    values: NDArray[Any] = column.fill_null(fill).to_numpy(zero_copy_only=False)
    return values


def _count(partials: list[pa.Array], low: Ranges, high: Ranges) -> pa.Array:
    return pa.array(_running(_numbers(partials[0], 0), low, high))


def _sum(partials: list[pa.Array], low: Ranges, high: Ranges) -> pa.Array:
    """Of INTs from the sums of their upper and lower 32 bits; NULL where it does not fit 64 bits."""
    if pa.types.is_floating(partials[0].type):
        return _finite(_fold(np.add, _numbers(partials[0], 0.0), 0.0, low, high))
    of_high, of_low = (_numbers(partial, 0) for partial in partials)
    upper = _running(of_high + (of_low >> 32), low, high)
    lower = _running(of_low & _LOW, low, high)
    upper += lower >> 32
    return pa.array(upper << 32 | lower & _LOW, mask=(upper < -(2**31)) | (upper >= 2**31))


def _mean(partials: list[pa.Array], low: Ranges, high: Ranges) -> pa.Array:
    number = _running(_numbers(partials[1], 0), low, high)
    total = _fold(np.add, _numbers(partials[0], 0.0), 0.0, low, high)
    return _finite(np.divide(total, number, out=np.full(len(total), np.nan), where=number > 0))


def _moments(finish: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Aggregate:
    """The variance of the sample from the numbers, means and squared distances of tiles, or a function of it.

    Distances are taken from the mean of each range: no digits are lost in a difference of squares.
    """

    def aggregate(partials: list[pa.Array], low: Ranges, high: Ranges) -> pa.Array:
        number, mean, squares = (_numbers(pc.struct_field(partials[0], name), 0) for name in ("n", "mean", "m2"))
        count = _running(number, low, high)
        center = _fold(np.add, number * mean, 0.0, low, high) / np.maximum(count, 1)
        total = _fold(np.add, squares, 0.0, low, high)
        sizes = high - low
        for block in filter(len, np.split(np.arange(len(low)), _cuts(sizes))):
            owner = np.repeat(block, sizes[block])
            inside = np.arange(len(owner)) - np.repeat(np.cumsum(sizes[block]) - sizes[block], sizes[block])
            tile = low[owner] + inside
            distances = np.bincount(owner - block[0], number[tile] * (mean[tile] - center[owner]) ** 2, len(block))
            total[block] += distances
        several = count > 1
        variance = np.divide(total, count - 1, out=np.full(len(total), np.nan), where=several)
        return _finite(finish(variance))

    return aggregate


def _cuts(sizes: Int64s) -> Int64s:
    """Where to cut ranges of some sizes so that those between two cuts have a bounded number of tiles together."""
    blocks = np.cumsum(sizes) // _BLOCK
    return np.flatnonzero(np.diff(blocks)) + 1


def _finite(values: NDArray[np.float64]) -> pa.Array:
    """FLOATs, NULL where they are not finite, without a negative zero."""
    return pa.array(values + 0.0, mask=~np.isfinite(values))


def _extreme(fold: np.ufunc) -> Aggregate:
    """The least or greatest value; of what is no number, that of the least or greatest rank."""

    def aggregate(partials: list[pa.Array], low: Ranges, high: Ranges) -> pa.Array:
        column = partials[0]
        numbers, values = (column, None) if _is_number(column) else _ranks(column)
        dtype = numbers.type.to_pandas_dtype()
        limits: Any = np.finfo(dtype) if pa.types.is_floating(numbers.type) else np.iinfo(dtype)
        nothing = limits.max if fold is np.minimum else limits.min
        found = _fold(fold, _numbers(numbers, nothing), nothing, low, high)
        known = _running(column.is_valid().to_numpy(zero_copy_only=False).astype(np.int64), low, high)
        extremes = pa.array(found, mask=known == 0)
        return extremes if values is None else values.take(extremes)

    return aggregate


def _is_number(column: pa.Array) -> bool:
    return bool(pa.types.is_floating(column.type) or pa.types.is_integer(column.type))


def _ranks(column: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Each value's rank among the different ones, and these in order; strings compare by bytes."""
    encoded = column.dictionary_encode()
    order = pc.array_sort_indices(encoded.dictionary)
    ranks = np.empty(len(order), np.int64)
    ranks[order.to_numpy()] = np.arange(len(order))
    return pa.array(ranks).take(encoded.indices), encoded.dictionary.take(order)


def _first(partials: list[pa.Array], low: Ranges, high: Ranges) -> pa.Array:
    column = partials[0]
    none = len(column)
    own = np.where(column.is_valid().to_numpy(zero_copy_only=False), np.arange(none), none)
    following = np.append(np.minimum.accumulate(own[::-1])[::-1], none)
    found = following[low]
    return column.field("value").take(pa.array(found, mask=found >= high))


def _last(partials: list[pa.Array], low: Ranges, high: Ranges) -> pa.Array:
    column = partials[0]
    own = np.where(column.is_valid().to_numpy(zero_copy_only=False), np.arange(len(column)), -1)
    found = np.insert(np.maximum.accumulate(own), 0, -1)[high]
    return column.field("value").take(pa.array(found, mask=found < low))


_AGGREGATES: dict[str, Aggregate] = {
    "count": _count,
    "sum": _sum,
    "mean": _mean,
    "min": _extreme(np.minimum),
    "max": _extreme(np.maximum),
    "first": _first,
    "last": _last,
    "variance": _moments(lambda variance: variance),
    "stddev": _moments(np.sqrt),
}
SLID_FUNCTIONS = frozenset(_AGGREGATES)
"""The aggregations that the kernel has."""
