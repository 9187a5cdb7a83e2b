"""The rows of a training dataset, piece by piece: labels, their features, then the on-demand features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

import pyarrow as pa

from feature_store.offline.masking import with_nulls
from feature_store.pit.budget import PIECE_ROWS, JoinBudget
from feature_store.pit.gathering import Labels, SpilledLabels
from feature_store.pit.join import Joined, join_view
from feature_store.pit.on_demand import OnDemandFeatures
from feature_store.pit.planning import GroupPlan
from feature_store.pit.semantics import KnownBy
from feature_store.pit.spilled import join_spilled
from feature_store.plan.schema import ViewSchema


@dataclass(frozen=True)
class Piece:
    """Some rows with all their columns, and of features not counted before how many values are missing."""

    table: pa.Table
    missing: Mapping[str, int]


@dataclass(frozen=True)
class Pieces:
    """All rows of a dataset.

    Attributes:
        length: rows of a piece; the last one may have fewer.
        read: gives the piece of a number; may be called from several threads.
        missing: of the features that are counted already, how many values are missing.
    """

    rows: int
    length: int
    read: Callable[[int], Piece]
    missing: Mapping[str, int]


def join_pieces(
    labels: Labels | SpilledLabels,
    view: ViewSchema,
    plans: Sequence[GroupPlan],
    known_by: KnownBy,
    budget: JoinBudget,
    masked: Set[str] = frozenset(),
) -> Pieces:
    """Joins labels with the groups of a view, where the labels are: in memory, or through scratch files.

    Args:
        plans: one for each group of the view, in order.
        masked: the features that are NULL on all rows.
    """
    on_demand = OnDemandFeatures(view)
    if isinstance(labels, Labels):
        table = labels.table
        joined = join_view(table, view, plans, known_by, budget.group_rows)

        def in_memory(number: int) -> Piece:
            start = number * PIECE_ROWS
            features = Joined(joined.features.slice(start, PIECE_ROWS), {})
            return _piece(table.slice(start, PIECE_ROWS), features)

        read, length, missing = in_memory, PIECE_ROWS, joined.missing
    else:
        spilled, found = labels, join_spilled(labels, view, plans, known_by, budget)

        def from_scratch(number: int) -> Piece:
            rows = spilled.piece(number)
            return _piece(rows, found.piece(number, rows.num_rows))

        read, length, missing = from_scratch, labels.piece_rows, {}

    def _piece(rows: pa.Table, features: Joined) -> Piece:
        computed = on_demand.after(rows, features)
        for name, column in zip(computed.features.column_names, computed.features.columns, strict=True):
            rows = rows.append_column(name, column)
        return Piece(with_nulls(rows, masked), computed.missing)

    return Pieces(labels.row_count, length, read, missing)
