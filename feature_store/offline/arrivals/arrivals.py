"""What has come into a source since a cursor: the common answer of all kinds of sources."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Cursor = int | Mapping[str, int | str]
"""Up to where a source has been looked at, as JSON: a snapshot of an Iceberg table, else what its kind remembers."""

FARTHEST = 2**62
"""Times (microseconds) farther from the epoch count as this one: they can be added to without overflow."""


@dataclass(frozen=True)
class Arrivals:
    """What has come into a source since a cursor, or has gone from it.

    Args:
        cursor: up to where it has been looked at now.
        times: stretches of event times (microseconds), a pair of the first and the last in each row, in which rows have
            changed; of those in one partition at least the latest.
        complete: whether these are all; if not, nobody can tell what else has come.
    """

    cursor: Cursor
    times: NDArray[np.int64]
    complete: bool = True


def instants(times: Iterable[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Event times as stretches of one instant each."""
    array = times if isinstance(times, np.ndarray) else np.array(list(times), np.int64)
    near: NDArray[np.int64] = np.clip(array, -FARTHEST, FARTHEST)
    return np.column_stack([near, near])


def slots(numbers: Iterable[tuple[int, int]], size: int) -> NDArray[np.int64]:
    """The stretches from the beginning of one slot of time to the end of another, which are counted from the epoch."""
    pairs = [(max(first * size, -FARTHEST), min((last + 1) * size - 1, FARTHEST)) for first, last in numbers]
    return np.array(pairs, np.int64).reshape(-1, 2)


NO_TIMES: NDArray[np.int64] = instants(())


def packed(columns: int, rows: Iterable[Iterable[int]]) -> str:
    """Rows of 64-bit numbers as a short text; the fewer numbers differ from those in the row before, the shorter."""
    table = np.array(list(rows), np.int64).reshape(-1, columns).T
    steps = np.diff(table, axis=1, prepend=0).astype("<i8")
    return base64.b64encode(zlib.compress(steps.tobytes(), 9)).decode()


def unpacked(columns: int, text: str) -> list[list[int]]:
    """The rows that `packed` has made a text of."""
    steps = np.frombuffer(zlib.decompress(base64.b64decode(text)), "<i8").reshape(columns, -1)
    rows: list[list[int]] = np.cumsum(steps, axis=1).T.tolist()
    return rows


def signed(number: int) -> int:
    """A number modulo 2^64, as a signed one of 64 bits."""
    return (number + 2**63) % 2**64 - 2**63
