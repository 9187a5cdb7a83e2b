"""How much a join has in memory at once, in rows: what a bound in bytes comes to for a view and its labels.

What counts is what the join takes beside the process as it was: labels that the caller has in memory are the caller's.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from feature_store.dtypes import DType
from feature_store.plan.schema import ViewSchema

PIECE_ROWS = 1 << 17
"""Rows of a row group of a dataset, and of what is written at once."""

MOST_GROUP_ROWS = 1_000_000
"""Rows of groups in memory: with more of them nothing gets faster."""

_LEAST_ROWS = 1_000
_LIST_BYTES, _TEXT_BYTES = 128, 32  # of a value, where the type does not say it
_WIDTHS = {"INT": 8, "FLOAT": 8, "TIMESTAMP": 8, "BOOL": 1, "STRING": _TEXT_BYTES}
_LABEL_BYTES = 200  # the kernel's share of a label: position, time, code and place in sorted order


@dataclass(frozen=True)
class JoinBudget:
    """The rows that a join has in memory at once.

    Attributes:
        memory: bytes that all of it may take.
        result_bytes: the most that labels and features may take to be kept in memory; others are spilled.
        label_bytes, feature_bytes: what a label takes with all its columns, and what its features do.
        group_rows: rows of groups that are read, by all workers together.
        slice_rows: spilled labels that a worker joins at once.
        piece_rows: spilled labels that a worker writes at once: a divisor of `PIECE_ROWS`.
        workers: how many work at the same time.
    """

    memory: int
    result_bytes: int
    label_bytes: int
    feature_bytes: int
    group_rows: int
    slice_rows: int
    piece_rows: int
    workers: int

    @classmethod
    def of(cls, memory: int, view: ViewSchema, label_bytes: int, workers: int | None = None) -> JoinBudget:
        """What a bound comes to.

        Args:
            memory: bytes.
            label_bytes: what a label takes with all its columns.
        """
        workers = workers or os.cpu_count() or 1
        groups = [sum(_width(column.dtype) for column in (*g.keys, *g.features)) for g in view.groups]
        features = sum(_width(column.dtype) + 1 for column in view.outputs)
        widest = max(groups, default=0)
        pieces = _fitting(memory // 4 // workers, 3 * label_bytes + 4 * features, PIECE_ROWS)
        return cls(
            memory=memory,
            result_bytes=memory // 4 * 3,
            label_bytes=label_bytes,
            feature_bytes=features,
            group_rows=_fitting(memory // 4, 3 * (widest + 32), MOST_GROUP_ROWS),
            slice_rows=_fitting(memory // 4 // workers, _LABEL_BYTES + 3 * widest, 10**9),
            piece_rows=1 << pieces.bit_length() - 1,
            workers=workers,
        )

    def holds(self, labels: int, label_bytes: int) -> bool:
        """Whether so many labels, which take so many bytes, and their features are kept in memory."""
        return 2 * (label_bytes + labels * self.feature_bytes) <= self.result_bytes


def _fitting(size: int, row_bytes: int, most: int) -> int:
    return min(max(size // row_bytes, _LEAST_ROWS), most)


def _width(dtype: DType) -> int:
    if dtype.kind == "EMBEDDING":
        return 8 * (dtype.size or 1)
    return _WIDTHS.get(dtype.kind, _LIST_BYTES)
