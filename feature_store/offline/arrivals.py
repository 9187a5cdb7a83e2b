"""What has come into a source since a cursor: the common answer of all kinds of sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Cursor = int | Mapping[str, int | str]
"""Up to where a source has been looked at, as JSON: a snapshot of an Iceberg table, else ingestion times."""

NO_TIMES: NDArray[np.int64] = np.empty(0, np.int64)


@dataclass(frozen=True)
class Arrivals:
    """What has come into a source since a cursor.

    Args:
        cursor: up to where it has been looked at now.
        times: event times (microseconds) of the rows; of those in one partition at least the latest.
        complete: whether these are all; if not, nobody can tell what else has come.
    """

    cursor: Cursor
    times: NDArray[np.int64]
    complete: bool = True
