"""The logical plan of a group: typed, immutable, no engine in sight."""

from __future__ import annotations

from dataclasses import dataclass

from feature_store.dsl.group import FeatureGroup
from feature_store.dsl.source import BatchSource
from feature_store.dtypes import DType
from feature_store.plan.expressions import Expression
from feature_store.plan.schema import GroupSchema


@dataclass(frozen=True)
class Aggregate:
    """One aggregated feature: a function over the rows that pass `where`, in `[T - window, T)` (microseconds)."""

    name: str
    function: str
    dtype: DType
    column: str | None = None
    by: str | None = None
    by_dtype: DType | None = None
    k: int | None = None
    where: Expression | None = None
    window: int | None = None


@dataclass(frozen=True)
class WindowedRows:
    """Rows of one source, filtered and computed on, then aggregated at every change point (or every slide)."""

    source: BatchSource
    computed: tuple[tuple[str, Expression], ...]
    where: Expression | None
    aggregates: tuple[Aggregate, ...]

    @property
    def windows(self) -> tuple[int | None, ...]:
        """The different windows, the shortest first, all-time last."""
        return tuple(sorted({a.window for a in self.aggregates}, key=lambda size: (size is None, size or 0)))


@dataclass(frozen=True)
class QueriedRows:
    """Rows of a query over whole sources, evaluated at every slide on the rows before it."""

    sources: tuple[BatchSource, ...]
    query: str
    lifted: str


@dataclass(frozen=True)
class GroupPlan:
    """Everything an engine needs to compute a group."""

    group: FeatureGroup
    schema: GroupSchema
    rows: WindowedRows | QueriedRows
    derived: tuple[tuple[str, Expression], ...]
    fingerprint: str

    @property
    def slide(self) -> int:
        """Distance of two feature timestamps, in microseconds."""
        return self.group.slide_size

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the entity's key columns."""
        return tuple(key.name for key in self.schema.keys)

    @property
    def sources(self) -> tuple[BatchSource, ...]:
        """Every source that is read."""
        return self.group.all_sources
