"""The window kernel where random groups do not lead it: sums at the edge of 64 bits, entities of many batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from feature_store.compile import window_kernel
from feature_store.compile.window_kernel import SLID_FUNCTIONS, SlidFeature, Sliding, slide_batches

GREATEST = 2**63 - 1


def tiles(*rows: tuple[str, int, int], size: int = 100) -> list[pa.RecordBatch]:
    """Tiles of users, their ends and sums (any integers), in batches of a size."""
    users, ends, sums = zip(*rows, strict=True)
    halves = {"high": [total >> 32 for total in sums], "low": [total & 0xFFFFFFFF for total in sums]}
    table = pa.table({"user": users, "tile_end": ends, "hits_3": [1] * len(rows), **halves})
    batches: list[pa.RecordBatch] = table.to_batches(max_chunksize=size)
    return batches


def totals(batches: Sequence[pa.RecordBatch], *, until: int, every: bool = False) -> list[tuple[Any, ...]]:
    """Users, times and sums over three instants."""
    feature = SlidFeature("total_3", "sum", 3, ("high", "low"))
    sliding = Sliding(("user",), 1, 0, until, False, every, ((3, "hits_3"),), (feature,))
    return [tuple(row.values()) for batch in slide_batches(sliding, batches) for row in batch.to_pylist()]


def test_sums_at_the_edge_of_64_bits_are_exact() -> None:
    found = totals(tiles(("a", 1, GREATEST), ("a", 5, -GREATEST), ("a", 6, -1)), until=9)
    assert found == [
        ("a", 1, GREATEST),
        ("a", 4, 0),
        ("a", 5, -GREATEST),
        ("a", 6, -GREATEST - 1),
        ("a", 8, -1),
        ("a", 9, 0),
    ]


def test_only_a_final_sum_overflows_and_is_null_there_alone() -> None:
    """A tile's own sum may be beyond 64 bits, and other rows and entities have their values."""
    found = totals(tiles(("a", 1, 3 * GREATEST), ("a", 2, -2 * GREATEST), ("a", 3, 1), ("b", 1, -GREATEST)), until=6)
    assert found == [
        ("a", 1, None),
        ("a", 2, GREATEST),
        ("a", 3, None),
        ("a", 4, None),
        ("a", 5, 1),
        ("a", 6, 0),
        ("b", 1, -GREATEST),
        ("b", 4, 0),
    ]
    assert totals(tiles(("a", 1, -GREATEST - 2), ("a", 2, 1)), until=2) == [("a", 1, None), ("a", 2, -GREATEST - 1)]


@pytest.mark.parametrize("size", [1, 2, 7])
@pytest.mark.parametrize("at_once", [1, 3, 50])
def test_entities_stay_whole_whatever_the_batches(monkeypatch: pytest.MonkeyPatch, size: int, at_once: int) -> None:
    monkeypatch.setattr(window_kernel, "_TILES", at_once)
    given = [
        (user, end, end) for user, count in (("a", 1), ("b", 9), ("c", 2), ("d", 1)) for end in range(1, count + 1)
    ]
    expected = []
    for user in "abcd":
        ends = [end for other, end, _ in given if other == user]
        points = [t for t in range(1, 13) if t in ends or t - 3 in ends]
        expected += [(user, t, sum(end for end in ends if t - 3 < end <= t)) for t in points]
    assert totals(tiles(*given, size=size), until=12) == expected


def test_a_row_at_every_instant_from_the_first_on() -> None:
    found = totals(tiles(("a", 2, 5), ("b", 4, 7)), until=5, every=True)
    assert found == [("a", 2, 5), ("a", 3, 5), ("a", 4, 5), ("a", 5, 0), ("b", 4, 7), ("b", 5, 7)]


def test_no_tiles_are_no_rows() -> None:
    empty = tiles(("a", 1, 1))[0].slice(0, 0)
    assert totals([], until=9) == totals([empty], until=9) == []


@pytest.mark.parametrize("function", sorted(SLID_FUNCTIONS))
def test_tiles_with_which_nothing_changes_are_no_rows(function: str) -> None:
    """They are older than the span, and nothing leaves a window in it."""
    dated = pa.array([{"at": 1, "value": 2.0}])
    moments = pa.array([{"n": 2, "mean": 1.5, "m2": 0.5}])
    partials: dict[str, list[pa.Array]] = {
        "count": [pa.array([2])],
        "mean": [pa.array([3.0]), pa.array([2])],
        "first": [dated],
        "last": [dated],
        "stddev": [moments],
        "variance": [moments],
    }
    columns = {f"partial {n}": column for n, column in enumerate(partials.get(function, [pa.array([3.0])]))}
    tile = {"user": pa.array(["a"]), "tile_end": pa.array([-5]), "hits_all": pa.array([2]), **columns}
    feature = SlidFeature("x", function, None, tuple(columns))
    sliding = Sliding(("user",), 1, 0, 9, False, False, ((None, "hits_all"),), (feature,))
    found = [len(rows) for rows in slide_batches(sliding, [pa.RecordBatch.from_pydict(tile)])]
    assert sum(found) == 0
