"""What the stores, the join and the registry need to know of a group: its keys and its typed columns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from feature_store.dsl.feature import Expectation
from feature_store.dtypes import DType, Value
from feature_store.plan.expression_nodes import Expression

if TYPE_CHECKING:
    import polars as pl

FEATURE_TIMESTAMP = "feature_timestamp"
CREATED_TIMESTAMP = "created_timestamp"


@dataclass(frozen=True)
class Column:
    """One feature as stored: `default` is given to readers for a missing or NULL value and never stored."""

    name: str
    dtype: DType
    default: Value = None
    description: str = ""
    expect: Expectation | None = None


@dataclass(frozen=True)
class GroupSchema:
    """The shape of a group's rows and how long they hold (durations in microseconds).

    The offline table has the columns: keys, feature_timestamp, created_timestamp, features.
    """

    name: str
    version: int
    keys: tuple[Column, ...]
    features: tuple[Column, ...]
    ttl: int | None
    availability_delay: int
    freshness: int
    buckets: int

    @property
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
    """

    inputs: tuple[str, ...] = ()
    expression: Expression | None = None
    function: str = ""
    code: str = ""
    polars: pl.Expr | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class ViewSchema:
    """What one model reads: the stored features of its groups in order, then the on-demand features over them.

    `request` are the values that a caller gives with a request, and that label rows have as columns.
    """

    name: str
    version: int
    groups: tuple[GroupSchema, ...]
    on_demand: tuple[OnDemandColumn, ...] = ()
    request: tuple[Column, ...] = ()

    @property
    def id(self) -> str:
        """The identity: "ranking@1"."""
        return f"{self.name}@{self.version}"

    @property
    def keys(self) -> tuple[Column, ...]:
        """The key columns a reader gives, each once, in order of the groups."""
        return tuple({key.name: key for group in self.groups for key in group.keys}.values())

    @property
    def features(self) -> tuple[Column, ...]:
        """All stored features in order of the groups."""
        return tuple(column for group in self.groups for column in group.features)

    @property
    def outputs(self) -> tuple[Column, ...]:
        """What a model gets: the stored features, then the on-demand features."""
        return (*self.features, *self.on_demand)
