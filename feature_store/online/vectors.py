"""What an online read returns: values with their statuses, as dicts, a matrix or an Arrow table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from feature_store.dtypes import Value, arrow_type, from_micros
from feature_store.errors import InputError
from feature_store.plan.schema import ViewedSchema, ViewSchema

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


class Status(StrEnum):
    """What a group has for an entity; see reader.py for the rules."""

    PRESENT = "PRESENT"
    DEFAULTED = "DEFAULTED"
    EXPIRED = "EXPIRED"
    NOT_FOUND = "NOT_FOUND"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True)
class GroupVectors:
    """One group's part of the vectors.

    Attributes:
        columns: per feature of the group its values, one for each row, defaults filled in.
        statuses: of each row.
        timestamps: of each row the feature_timestamp of the group's newest row (microseconds); None if it has none.
        overflows: the rows on which a feature does not fit 64 bits, by what the view calls it.
    """

    group: ViewedSchema
    columns: Sequence[Sequence[Value]]
    statuses: Sequence[Status]
    timestamps: Sequence[int | None]
    overflows: Mapping[str, frozenset[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class OnlineVectors:
    """The vectors of a view for some rows, in their order.

    A group is called by its id; one read in a role with a prefix has the prefix before it: "seller_user_orders@1".

    Attributes:
        rows: the rows that were asked for.
        groups: the values, one part per group of the view.
        stale: per group id, whether the instant up to which its rows are in the store is longer ago than its freshness
            allows.
        updated_at: per group id, that instant; None if nothing is known of it.
        on_demand: per on-demand feature of the view its values, one for each row.
        overflows: per feature that does not fit 64 bits on some rows, the places of these rows.
    """

    view: ViewSchema
    rows: tuple[Mapping[str, Any], ...]
    groups: tuple[GroupVectors, ...]
    stale: dict[str, bool]
    updated_at: dict[str, datetime | None]
    on_demand: tuple[Sequence[Value], ...] = ()
    overflows: Mapping[str, frozenset[int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def statuses(self) -> list[dict[str, Status]]:
        """Per row, the status of every group by its id."""
        ids = [part.group.id for part in self.groups]
        return [dict(zip(ids, row, strict=True)) for row in self._per_row([part.statuses for part in self.groups])]

    @property
    def overflowed(self) -> list[tuple[str, ...]]:
        """Per row, the features that have no value because it does not fit 64 bits: they are NULL, or the default.

        The sum of a row that was computed before the group had this feature counts as one of them.
        """
        found: list[tuple[str, ...]] = [()] * len(self)
        for name, places in self.overflows.items():
            for i in places:
                found[i] += (name,)
        return found

    @property
    def feature_timestamps(self) -> list[dict[str, datetime | None]]:
        """Per row, the feature_timestamp of every group's newest row by the group's id; None where there is none."""
        ids = [part.group.id for part in self.groups]
        instants = [[None if t is None else from_micros(t) for t in part.timestamps] for part in self.groups]
        return [dict(zip(ids, row, strict=True)) for row in self._per_row(instants)]

    def to_dicts(self) -> list[dict[str, Any]]:
        """Per row, the view's key columns, then its features, then its on-demand features, by name."""
        columns = {key.name: [row[key.name] for row in self.rows] for key in self.view.keys} | dict(self._columns())
        return [dict(zip(columns, row, strict=True)) for row in self._per_row([*columns.values()])]

    def to_numpy(self, features: Sequence[str] | None = None) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """The features (those named, or all) as a float64 matrix of shape (rows, features); NULL is NaN.

        Raises:
            InputError: naming the features that are not INT or FLOAT, or that the view does not have.
        """
        import numpy as np

        columns = {feature.name: feature.dtype for feature in self.view.outputs}
        wanted = list(columns) if features is None else list(features)
        unknown = [name for name in wanted if name not in columns]
        if unknown:
            raise InputError(
                f"no feature {', '.join(unknown)}",
                where=f"view {self.view.id}",
                remedy="see view.outputs",
                code="not-in-view",
            )
        other = [f"{name} ({columns[name]})" for name in wanted if not columns[name].is_numeric]
        if other:
            raise InputError(
                f"not numeric: {', '.join(other)}",
                where=f"view {self.view.id}",
                remedy="name the numeric features, to_numpy([...]), or use to_arrow()",
                code="not-numeric",
            )
        by_name = dict(self._columns())
        matrix = np.empty((len(self), len(wanted)), dtype=np.float64)
        for i, name in enumerate(wanted):
            matrix[:, i] = np.array(by_name[name], dtype=np.float64)  # None becomes NaN
        return matrix

    def to_arrow(self) -> pa.Table:
        """The view's key columns, features and on-demand features, typed as in training datasets."""
        import pyarrow as pa

        types = {column.name: arrow_type(column.dtype) for column in (*self.view.keys, *self.view.outputs)}
        columns = {key.name: [row[key.name] for row in self.rows] for key in self.view.keys} | dict(self._columns())
        return pa.table({name: pa.array(columns[name], type=dtype) for name, dtype in types.items()})

    def _columns(self) -> Iterator[tuple[str, Sequence[Value]]]:
        for part in self.groups:
            for feature, values in zip(part.group.features, part.columns, strict=True):
                yield feature.name, values
        for column, values in zip(self.view.on_demand, self.on_demand, strict=True):
            yield column.name, values

    def _per_row(self, parts: Sequence[Sequence[Any]]) -> Iterator[tuple[Any, ...]]:
        return zip(*parts, strict=True) if parts else iter([()] * len(self))
