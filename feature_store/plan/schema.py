"""What the stores, the join and the registry need to know of a group: its keys and its typed columns."""

from __future__ import annotations

from dataclasses import dataclass

from feature_store.dsl.feature import Expectation
from feature_store.dtypes import DType, Value

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
class ViewSchema:
    """The groups one model reads; their features in order are the columns of its vectors."""

    name: str
    version: int
    groups: tuple[GroupSchema, ...]

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
        """All features in order of the groups."""
        return tuple(column for group in self.groups for column in group.features)
