"""The logical plan of a group: typed, immutable, no engine in sight."""

from __future__ import annotations

from dataclasses import dataclass, field

from feature_store.dsl.group import FeatureGroup
from feature_store.dsl.source import BatchSource, StreamSource
from feature_store.dtypes import DType
from feature_store.plan.expression_nodes import Expression
from feature_store.plan.schema import GroupSchema


@dataclass(frozen=True)
class Aggregate:
    """One aggregated feature: a function over the rows that pass `where`, in `[T - window, T)` (microseconds).

    With `session`, the window is the gap of sessions: the rows are those of the session of the latest one before T, if
    that one is in `[T - window, T)`.
    """

    name: str
    function: str
    dtype: DType
    column: str | None = None
    by: str | None = None
    by_dtype: DType | None = None
    k: int | None = None
    q: float | None = None
    where: Expression | None = None
    window: int | None = None
    session: bool = False


@dataclass(frozen=True)
class WindowedRows:
    """Rows of one source, filtered and computed on, then aggregated at every change point (or every slide).

    Of a stream, the source is its event log.
    """

    source: BatchSource
    computed: tuple[tuple[str, Expression], ...]
    where: Expression | None
    aggregates: tuple[Aggregate, ...]

    @property
    def windows(self) -> tuple[int | None, ...]:
        """How long rows matter after they enter, each length once, the shortest first, all-time (None) last.

        A session has the change points of a sliding window of its gap's length, so its gap is one of them.
        """
        return tuple(sorted({a.window for a in self.aggregates}, key=lambda size: (size is None, size or 0)))

    @property
    def columns_read(self) -> frozenset[str]:
        """The columns of the source and computed ones that a value depends on, its event time and event id included."""
        times = {self.source.event_timestamp} | ({self.source.event_id} if self.source.event_id is not None else set())
        return frozenset(times.union(*(self.columns_of(aggregate) for aggregate in self.aggregates)))

    def columns_of(self, aggregate: Aggregate) -> frozenset[str]:
        """The columns that an aggregate depends on, through conditions and computed columns, those included."""
        read = {column for column in (aggregate.column, aggregate.by) if column is not None}
        for condition in (aggregate.where, self.where):
            read |= condition.columns if condition is not None else set()
        for name, expression in reversed(self.computed):
            if name in read:
                read |= expression.columns
        return frozenset(read)


@dataclass(frozen=True)
class QueriedRows:
    """Rows of a query over whole sources, evaluated at every slide on the rows before it.

    `deletions` are, by their sources' names, the conditions that a row of a log of changes is a deletion.
    """

    sources: tuple[BatchSource, ...]
    query: str
    lifted: str
    deletions: dict[str, Expression] = field(default_factory=dict)


@dataclass(frozen=True)
class GroupPlan:
    """Everything an engine needs to compute a group.

    `state_fingerprint` is of a stream: a hash of what the state of its Flink job depends on; "" for other groups.
    """

    group: FeatureGroup
    schema: GroupSchema
    rows: WindowedRows | QueriedRows
    derived: tuple[tuple[str, Expression], ...]
    fingerprint: str
    state_fingerprint: str = ""

    @property
    def stream(self) -> StreamSource | None:
        """The stream that Flink computes the group from, if there is one."""
        return self.group.stream

    @property
    def slide(self) -> int:
        """Distance of two feature timestamps, in microseconds."""
        return self.group.slide_size

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the entity's key columns."""
        return tuple(key.name for key in self.schema.keys)

    @property
    def overflows(self) -> dict[str, Expression]:
        """By feature, of those whose value may not fit 64 bits, the condition on a row that it does not."""
        return {feature.name: feature.overflow for feature in self.schema.features if feature.overflow is not None}

    @property
    def sources(self) -> tuple[BatchSource, ...]:
        """Every source that Spark reads; of a stream the event log."""
        return self.group.all_sources
