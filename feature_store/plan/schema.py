"""What the stores, the join and the registry need to know of a group: its keys and its typed columns."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from feature_store.dtypes import DType, Value
from feature_store.plan.expression_nodes import Expression

if TYPE_CHECKING:
    import polars as pl

    from feature_store.dsl.expectation import Expectation

FEATURE_TIMESTAMP = "feature_timestamp"
CREATED_TIMESTAMP = "created_timestamp"
RETRACTED = "retracted"
"""Column of offline tables: true in a row that takes the older rows of its entity and feature_timestamp back."""


@dataclass(frozen=True)
class Column:
    """One feature as stored: `default` is given to readers for a missing or NULL value and never stored.

    `overflow` is the condition on a row as it is stored that the value is NULL because it does not fit 64 bits; None if
    it always fits.
    """

    name: str
    dtype: DType
    default: Value = None
    description: str = ""
    expect: tuple[Expectation, ...] = ()
    overflow: Expression | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class GroupSchema:
    """The shape of a group's rows and how long they hold (durations in microseconds).

    The offline table has the columns: keys, feature_timestamp, created_timestamp, retracted, features. `cache` is for
    how long servers, and clients after them, may remember values; None: not at all. `online_store` is the name of the
    Redis that has its rows; empty for the default one.
    """

    name: str
    version: int
    keys: tuple[Column, ...]
    features: tuple[Column, ...]
    ttl: int | None
    availability_delay: int
    freshness: int
    buckets: int
    cache: int | None = None
    online_store: str = ""

    @cached_property
    def id(self) -> str:
        """The identity: "user_orders@1"."""
        return f"{self.name}@{self.version}"

    @property
    def table(self) -> str:
        """Name of the offline table in the catalog."""
        return f"features.{self.name}_v{self.version}"


@dataclass(frozen=True)
class OnDemandColumn(Column):
    """One feature computed when a view is read: `default` is what NULL becomes.

    Attributes:
        inputs: names of the columns it reads: stored features, keys, request values, request_time, and on-demand
            features before it.
        expression: what it is; None if it is a function.
        function: "module:name", or "".
        code: what the function says, as a hash; "" if that is not checked.
        polars: the function's expression, of the column's type.
        polars_overflow: the condition that an INT wraps around in it; None if that is not known.
    """

    inputs: tuple[str, ...] = ()
    expression: Expression | None = None
    function: str = ""
    code: str = ""
    polars: pl.Expr | None = field(default=None, compare=False, repr=False)
    polars_overflow: pl.Expr | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class ViewedSchema:
    """A group in one role of a view.

    Attributes:
        group: the group as its stores have it, with the features that are read.
        key_names: what the view calls the group's key columns; empty: as the group does.
        prefix: put before the names of the group and its features.
    """

    group: GroupSchema
    key_names: tuple[str, ...] = ()
    prefix: str = ""

    @cached_property
    def id(self) -> str:
        """What the view calls it: "user_orders@1", with the prefix before it."""
        return f"{self.prefix}{self.group.id}"

    @cached_property
    def keys(self) -> tuple[Column, ...]:
        """The group's key columns as the view calls them: columns that a reader gives, or features of the view."""
        names = self.key_names or (key.name for key in self.group.keys)
        return tuple(replace(key, name=name) for key, name in zip(self.group.keys, names, strict=True))

    @cached_property
    def features(self) -> tuple[Column, ...]:
        """The group's features as the view calls them."""
        if not self.prefix:
            return self.group.features
        return tuple(replace(feature, name=f"{self.prefix}{feature.name}") for feature in self.group.features)


@dataclass(frozen=True)
class ViewSchema:
    """What one model reads: the stored features of its groups in order, then the on-demand features over them.

    `request` are the values that a caller gives with a request, and that label rows have as columns; `prejoin` is
    whether the online store keeps the rows of an entity together.
    """

    name: str
    version: int
    groups: tuple[ViewedSchema, ...]
    on_demand: tuple[OnDemandColumn, ...] = ()
    request: tuple[Column, ...] = ()
    prejoin: bool = False

    @cached_property
    def id(self) -> str:
        """The identity: "ranking@1"."""
        return f"{self.name}@{self.version}"

    @cached_property
    def keys(self) -> tuple[Column, ...]:
        """The key columns a reader gives, each once, in order of the groups: all that are no features of the view."""
        features = {feature.name for feature in self.features}
        keys = {key.name: key for group in self.groups for key in group.keys}
        return tuple(key for name, key in keys.items() if name not in features)

    @cached_property
    def features(self) -> tuple[Column, ...]:
        """All stored features in order of the groups."""
        return tuple(column for group in self.groups for column in group.features)

    @property
    def outputs(self) -> tuple[Column, ...]:
        """What a model gets: the stored features, then the on-demand features."""
        return (*self.features, *self.on_demand)

    @cached_property
    def rounds(self) -> tuple[tuple[int, ...], ...]:
        """The places of the groups in the order in which they can be read.

        First the groups keyed by what a reader gives, then those keyed by features of groups before them, and so on;
        groups keyed by each other's features are in none.
        """
        unknown = {feature.name for feature in self.features}
        waiting = list(range(len(self.groups)))
        rounds = []
        while ready := [i for i in waiting if not any(key.name in unknown for key in self.groups[i].keys)]:
            rounds.append(tuple(ready))
            unknown -= {feature.name for i in ready for feature in self.groups[i].features}
            waiting = [i for i in waiting if i not in ready]
        return tuple(rounds)

    @cached_property
    def named_stores(self) -> frozenset[str]:
        """The names of the online stores that groups are read from, the empty one of the default store among them;
        nothing if all are in the default store."""
        names = frozenset(viewed.group.online_store for viewed in self.groups)
        return frozenset() if names == {""} else names

    @cached_property
    def is_plain(self) -> bool:
        """Whether every group is read in one role only, keyed by what a reader gives."""
        return len(self.rounds) == 1 and len({viewed.group.id for viewed in self.groups}) == len(self.groups)

    @cached_property
    def prejoined(self) -> tuple[tuple[int, ...], ...]:
        """The places of groups whose rows the online store keeps together: several that are read by the same key.

        Groups in a role with a key of its own are read by themselves; so are all groups of a view that reads several
        online stores.
        """
        if len(self.named_stores) > 1:
            return ()
        sets: dict[tuple[str, ...], list[int]] = {}
        for i, viewed in enumerate(self.groups):
            if self.prejoin and not viewed.key_names:
                sets.setdefault(tuple(key.name for key in viewed.keys), []).append(i)
        return tuple(tuple(places) for places in sets.values() if len({self.groups[i].group.id for i in places}) > 1)
