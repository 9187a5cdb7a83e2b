"""Search for what was visible: the nearest earlier row whose created_timestamp is not after the label."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Int64s = NDArray[np.int64]

_NOWHERE = -1


def last_at_most(values: Int64s, limits: Int64s, starts: Int64s) -> Int64s:
    """For each limit and start, the last place at or before the start whose value is at most the limit, or -1.

    A backfill writes years of rows after the labels they are joined with, so stepping back row by row could visit every
    row for every label. A tree of minima answers in O(log n) steps, each done for all pairs at once.

    Args:
        values: the values to search, by place.
        limits: greatest value allowed, per pair.
        starts: where the search begins, per pair; -1 finds nothing.
    """
    found = starts.copy()
    hidden = np.flatnonzero((starts >= 0) & (values[starts] > limits))
    if len(hidden):
        found[hidden] = _search(_minima(values), limits[hidden], starts[hidden])
    return found


def _minima(values: Int64s) -> list[Int64s]:
    """Level k holds the minimum of every 2**k values."""
    levels = [values]
    while len(levels[-1]) > 1:
        below = levels[-1]
        if len(below) % 2:
            below = np.append(below, np.iinfo(np.int64).max)
        levels.append(np.minimum(below[::2], below[1::2]))
    return levels


def _search(levels: list[Int64s], limits: Int64s, starts: Int64s) -> Int64s:
    node, level = _climb(levels, limits, starts)
    return _descend(levels, limits, node, level)


def _climb(levels: list[Int64s], limits: Int64s, starts: Int64s) -> tuple[Int64s, Int64s]:
    """The first node, going left and up from the start, that holds a value small enough; and its level."""
    node = starts.copy()
    found_at = np.zeros(len(starts), np.int64)
    seeking = np.arange(len(starts))
    for level, minima in enumerate(levels):
        too_great = minima[node[seeking]] > limits[seeking]
        found_at[seeking[~too_great]] = level
        seeking = seeking[too_great]
        # All of this node is too great: what is left of it begins with the node that ends before it, seen one level up.
        node[seeking] = (node[seeking] - 1) >> 1
        seeking = seeking[node[seeking] >= 0]
        if not len(seeking):
            break
    return node, found_at


def _descend(levels: list[Int64s], limits: Int64s, node: Int64s, level: Int64s) -> Int64s:
    """The last place below each node whose value is small enough."""
    for below in range(int(level.max()) - 1, -1, -1):
        here = np.flatnonzero((level > below) & (node != _NOWHERE))
        minima = levels[below]
        right = 2 * node[here] + 1
        exists = right < len(minima)
        fits = exists & (minima[np.where(exists, right, 0)] <= limits[here])
        node[here] = np.where(fits, right, right - 1)
    return node
