"""Search for what was visible: the nearest earlier row that a reader at the label's time had."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Int64s = NDArray[np.int64]

NOWHERE = -1
NEVER = np.iinfo(np.int64).min
ALWAYS = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Visibility:
    """When each row can be seen, by its place: at the instants of `[since, until)`.

    Attributes:
        since: the first instant, in microseconds.
        until: the instant at which another row of the same time takes its place, or `NEVER` for a row that nobody may
            see; None if rows are visible for ever.
    """

    since: Int64s
    until: Int64s | None = None


def last_visible(rows: Visibility, instants: Int64s, firsts: Int64s, starts: Int64s) -> Int64s:
    """For each instant, the last place of `[first, start]` whose row is visible at it, or -1.

    A backfill writes years of rows after the labels they are joined with, and a recomputation takes years of rows back,
    so stepping back row by row could visit every row for every label. A tree of bounds passes over many rows at once.

    Args:
        firsts, starts: the places that an instant's search ends and begins at; none is searched if first > start.
    """
    found = starts.copy()
    unseen = np.flatnonzero(starts >= firsts)
    found[starts < firsts] = NOWHERE
    unseen = unseen[~_may_see(rows, starts[unseen], instants[unseen])]
    if len(unseen):
        found[unseen] = _search(_Tree.of(rows), instants[unseen], firsts[unseen], starts[unseen])
    return found


def _may_see(rows: Visibility, places: Int64s, instants: Int64s) -> NDArray[np.bool_]:
    seen = rows.since[places] <= instants
    return seen if rows.until is None else seen & (rows.until[places] > instants)


@dataclass(frozen=True)
class _Tree:
    """Nodes level by level: node n of level k stands for the places [n << k, (n + 1) << k).

    Attributes:
        bounds: of each node, the least `since` and the greatest `until` of its places: at an instant outside of these
            none of them is visible; inside, one of them may be.
        offsets: where each level begins in the bounds.
    """

    bounds: Visibility
    offsets: Int64s

    @classmethod
    def of(cls, rows: Visibility) -> _Tree:
        since = _levels(rows.since, np.minimum, ALWAYS)
        until = None if rows.until is None else np.concatenate(_levels(rows.until, np.maximum, NEVER))
        offsets = np.cumsum([0, *map(len, since[:-1])])
        return cls(Visibility(np.concatenate(since), until), offsets)


def _levels(values: Int64s, bound: np.ufunc, neutral: int) -> list[Int64s]:
    """Level k bounds every 2**k values."""
    levels = [values]
    while len(levels[-1]) > 1:
        below = levels[-1]
        if len(below) % 2:
            below = np.append(below, neutral)
        levels.append(bound(below[::2], below[1::2]))
    return levels


def _search(tree: _Tree, instants: Int64s, firsts: Int64s, starts: Int64s) -> Int64s:
    """Every search goes left: into a node that may hold a visible row, right half first, and past one that does not."""
    found = np.full(len(starts), NOWHERE, np.int64)
    searches, node, level = np.arange(len(starts)), starts.copy(), np.zeros(len(starts), np.int64)
    while len(searches):
        may_hold = _may_see(tree.bounds, tree.offsets[level] + node, instants[searches])
        done = may_hold & (level == 0)
        found[searches[done]] = node[done]

        # Left of a left half begins another node of the level above; left of a right half is its left half.
        is_left = (node & 1) == 0
        left = np.where(is_left, (node >> 1) - 1, node - 1)
        node = np.where(may_hold, np.minimum(2 * node + 1, _last(tree, level - 1)), left)
        level = np.where(may_hold, level - 1, level + is_left)
        goes_on = ~done & (node >= 0) & (((node + 1) << level) > firsts[searches])
        searches, node, level = searches[goes_on], node[goes_on], level[goes_on]
    return found


def _last(tree: _Tree, level: Int64s) -> Int64s:
    """The last node of each level."""
    ends = np.append(tree.offsets[1:], tree.offsets[-1] + 1)
    return (ends - tree.offsets)[level] - 1
