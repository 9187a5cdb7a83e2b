"""What an online read returns: values with their statuses, as dicts, a matrix or an Arrow table."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from feature_store.dtypes import Value, arrow_type, from_micros
from feature_store.errors import InputError, StackError, choices
from feature_store.online.codec import StoredRow, wire_of
from feature_store.plan.schema import Column, ViewedSchema, ViewSchema

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import torch

MatrixType = Literal["float32", "float64"]

NO_ENTITY = -1
"""The place of a row without an entity: a part of its key is NULL."""


class Status(StrEnum):
    """What a group has for an entity; see reader.py for the rules."""

    PRESENT = "PRESENT"
    DEFAULTED = "DEFAULTED"
    EXPIRED = "EXPIRED"
    NOT_FOUND = "NOT_FOUND"
    UNAVAILABLE = "UNAVAILABLE"


def chosen_features(view: ViewSchema, names: Sequence[str] | None) -> frozenset[str]:
    """The features of a view that are wanted (None: all).

    Raises:
        InputError: if the view has no feature of a name.
    """
    known = frozenset(column.name for column in view.outputs)
    for name in names or ():
        if name not in known:
            raise InputError(
                f"no feature {name!r}", where=view.id, remedy=choices(name, known, "features"), code="not-in-view"
            )
    return known if names is None else frozenset(names)


class EntityRows(msgspec.Struct, frozen=True):
    """What is known of some entities of one group; the values of their rows are as they are stored.

    Attributes:
        rows: per entity the group's features, defaults filled in.
        statuses: of each entity.
        timestamps: of each entity the feature_timestamp of its newest row (microseconds); None where there is none.
        overflows: the places of entities on which a feature does not fit 64 bits, by what the view calls it.
    """

    rows: list[StoredRow]
    statuses: list[Status]
    timestamps: list[int | None]
    overflows: dict[str, list[int]]


class GroupVectors(msgspec.Struct, frozen=True):
    """One group's part of the vectors. Rows are those that were asked for; several may be of one entity.

    Attributes:
        entities: what is known of each entity once.
        places: of every row the place of its entity, or NO_ENTITY; None if row i is of entity i.
        absent: the features of a row without an entity: the defaults.
        values: of each entity the value in Redis that was read; empty where a server has read it.
    """

    group: ViewedSchema
    entities: EntityRows
    places: Sequence[int] | None
    absent: StoredRow
    values: Sequence[Any] = ()

    @property
    def rows(self) -> Sequence[StoredRow]:
        """Per row the group's features, as they are stored."""
        return self.spread(self.entities.rows, self.absent)

    @property
    def statuses(self) -> Sequence[Status]:
        """The status of each row."""
        return self.spread(self.entities.statuses, Status.NOT_FOUND)

    @property
    def timestamps(self) -> Sequence[int | None]:
        """Of each row the feature_timestamp of the group's newest row (microseconds); None if it has none."""
        return self.spread(self.entities.timestamps, None)

    @property
    def overflows(self) -> Mapping[str, Sequence[int]]:
        """The rows on which a feature does not fit 64 bits, by what the view calls it."""
        places = self.places
        if places is None or not self.entities.overflows:
            return self.entities.overflows
        flagged = {name: frozenset(of) for name, of in self.entities.overflows.items()}
        return {name: [row for row, place in enumerate(places) if place in of] for name, of in flagged.items()}

    def stored(self, feature: int) -> list[Any]:
        """The values of a feature, by its place in the group, one for each row, as they are stored."""
        return [row[feature] for row in self.rows]

    def column(self, feature: int) -> list[Value]:
        """The values of a feature, by its place in the group, one for each row."""
        decode = wire_of(self.group.group.features[feature].dtype).decode
        if decode is None:
            return self.stored(feature)
        stored = [row[feature] for row in self.entities.rows]
        values = [None if value is None else decode(value) for value in stored]
        absent = self.absent[feature]
        return [*self.spread(values, None if absent is None else decode(absent))]

    def spread(self, of_entities: Sequence[Any], absent: Any) -> Sequence[Any]:
        """Something of each entity as the same of each row.

        Args:
            absent: what rows without an entity have.
        """
        if self.places is None:
            return of_entities
        if len(of_entities) == 1 and NO_ENTITY not in self.places:
            return [of_entities[0]] * len(self.places)
        values = [*of_entities, absent]  # where NO_ENTITY points to
        return [values[place] for place in self.places]


class OnlineVectors(msgspec.Struct, frozen=True, dict=True):
    """The vectors of a view for some rows, in their order.

    A group is called by its id; one read in a role with a prefix has the prefix before it: "seller_user_orders@1".

    Attributes:
        rows: the rows that were asked for.
        groups: the values, one part per group of the view.
        complete_at: per group the instant (microseconds) up to which its rows are in the store; None: not known.
        instant: the request's time, in microseconds.
        on_demand: per on-demand feature of the view its values, one for each row.
        on_demand_overflows: per on-demand feature that does not fit 64 bits on some rows, the places of these rows.
        failures: per on-demand feature that a server could not compute, why; it is None on all rows.
        chosen: the names of the features that were asked for; None: all of the view.
        masked: the features whose values the caller must not see: they are None.
        told_stale: per group whether it is stale, where a server has said so; None: see `is_stale`.
        request: of each request value of the view those of the rows; empty where a server has read it.
        order: the names of the features in the order of the model that reads them; empty: that of the view.
    """

    view: ViewSchema
    rows: Sequence[Mapping[str, Any]]
    groups: Sequence[GroupVectors]
    complete_at: Sequence[int | None]
    instant: int
    on_demand: Sequence[Sequence[Value]] = ()
    on_demand_overflows: Mapping[str, Sequence[int]] = {}
    failures: Mapping[str, str] = {}
    chosen: frozenset[str] | None = None
    masked: tuple[str, ...] = ()
    told_stale: Sequence[bool] | None = None
    request: Mapping[str, Sequence[Value]] = {}
    order: tuple[str, ...] = ()

    def select(self, features: Sequence[str]) -> OnlineVectors:
        """The same vectors with these features only, in the order of the view, or of the model that reads it.

        Raises:
            InputError: if the view has no feature of a name.
        """
        chosen = chosen_features(self.view, features)
        order = tuple(name for name in self.order if name in chosen)
        return msgspec.structs.replace(self, chosen=chosen, order=order)

    def of_model(self, features: Sequence[str]) -> OnlineVectors:
        """The same vectors with the features of a model, in its order.

        Raises:
            InputError: if the view has no feature of a name.
        """
        return msgspec.structs.replace(self, chosen=chosen_features(self.view, features), order=tuple(features))

    @cached_property
    def outputs(self) -> tuple[Column, ...]:
        """The features that the vectors have: all of the view, or those that were asked for, in its order."""
        found = self.view.outputs
        if self.order:
            columns = {column.name: column for column in found}
            return tuple(columns[name] for name in self.order)
        return found if self.chosen is None else tuple(column for column in found if column.name in self.chosen)

    @cached_property
    def stale(self) -> dict[str, bool]:
        """Per group id, whether its rows are in the store up to an instant longer ago than its freshness allows."""
        return {part.group.id: self.is_stale(i) for i, part in enumerate(self.groups)}

    def is_stale(self, group: int) -> bool:
        """The same of one group, by its place in the view."""
        if self.told_stale is not None:
            return self.told_stale[group]
        complete_at = self.complete_at[group]
        return complete_at is None or self.instant - complete_at > self.groups[group].group.group.freshness

    @cached_property
    def updated_at(self) -> dict[str, datetime | None]:
        """Per group id, the instant up to which its rows are in the store; None if nothing is known of it."""
        instants = (None if instant is None else from_micros(instant) for instant in self.complete_at)
        return dict(zip((part.group.id for part in self.groups), instants, strict=True))

    @property
    def overflows(self) -> dict[str, Sequence[int]]:
        """Per feature that does not fit 64 bits on some rows, the places of these rows."""
        stored = {name: places for part in self.groups for name, places in part.overflows.items()}
        found = {**stored, **self.on_demand_overflows}
        return found if self.chosen is None else {name: of for name, of in found.items() if name in self.chosen}

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
        columns: dict[str, Sequence[Any]] = {key.name: [row[key.name] for row in self.rows] for key in self.view.keys}
        features = dict(self._columns())
        columns |= {name: features[name] for name in self.order} if self.order else features
        return [dict(zip(columns, row, strict=True)) for row in self._per_row([*columns.values()])]

    def to_numpy(
        self, features: Sequence[str] | None = None, *, dtype: MatrixType = "float32"
    ) -> np.ndarray[tuple[int, int], np.dtype[np.floating[Any]]]:
        """The features (those named, or all) as a matrix, a row for each vector; `matrix_columns` names its columns.

        An INT or FLOAT is one column, an EMBEDDING one for each of its numbers. NULL is NaN. A float32 holds integers
        up to 2**24 exactly, and is infinite for numbers beyond 3.4e38.

        Args:
            dtype: "float32", which model servers take, or "float64".

        Raises:
            InputError: naming the features that are not INT, FLOAT or EMBEDDING, or that the vectors do not have.
            StackError: if NumPy is not installed.
        """
        with _installed("numpy"):
            from feature_store.online.matrix import matrix_of
        return matrix_of(self, features, dtype)

    def matrix_columns(self, features: Sequence[str] | None = None) -> list[str]:
        """The names of the columns of the matrix of these features: "item_price", "item_vector[0]", "item_vector[1]".

        Raises:
            InputError: as `to_numpy`.
        """
        with _installed("numpy"):
            from feature_store.online.matrix import matrix_columns
        return matrix_columns(self, features)

    def to_torch(self, features: Sequence[str] | None = None, *, dtype: MatrixType = "float32") -> torch.Tensor:
        """The matrix of `to_numpy` as a PyTorch tensor, which shares its memory.

        Raises:
            InputError: as `to_numpy`.
            StackError: if PyTorch or NumPy is not installed.
        """
        with _installed("torch"):
            import torch
        return torch.from_numpy(self.to_numpy(features, dtype=dtype))

    def to_arrow(self) -> pa.Table:
        """The view's key columns, features and on-demand features, typed as in training datasets.

        Raises:
            StackError: if PyArrow is not installed.
        """
        with _installed("pyarrow"):
            import pyarrow as pa

        types = {column.name: arrow_type(column.dtype) for column in (*self.view.keys, *self.outputs)}
        columns = {key.name: [row[key.name] for row in self.rows] for key in self.view.keys} | dict(self._columns())
        return pa.table({name: pa.array(columns[name], type=dtype) for name, dtype in types.items()})

    def _columns(self) -> Iterator[tuple[str, Sequence[Value]]]:
        chosen = self.chosen
        for part in self.groups:
            for i, feature in enumerate(part.group.features):
                if chosen is None or feature.name in chosen:
                    yield feature.name, part.column(i)
        for column, values in zip(self.view.on_demand, self.on_demand, strict=True):
            if chosen is None or column.name in chosen:
                yield column.name, values

    def _per_row(self, parts: Sequence[Sequence[Any]]) -> Iterator[tuple[Any, ...]]:
        return zip(*parts, strict=True) if parts else iter([()] * len(self))


@contextmanager
def _installed(package: str) -> Iterator[None]:
    """Says what to do where a package that only some programs need is missing.

    Raises:
        StackError: if it cannot be imported.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise StackError(
            f"{package} is not installed: {error}",
            where=sys.executable,
            remedy=f"pip install {package}",
            code="package-missing",
        ) from error
