"""Feature groups: features computed together for one entity from one source, or by one query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from feature_store.dsl.access import Access
from feature_store.dsl.definition import STRICT, Definition
from feature_store.dsl.deprecation import Deprecated
from feature_store.dsl.entity import Entity
from feature_store.dsl.expectation import RowsExpectation, SourceExpectation
from feature_store.dsl.feature import Feature
from feature_store.dsl.source import BatchSource, SourceField, StreamSource
from feature_store.duration import DAY, HOUR, MINUTE, SECOND, Duration, parse_duration

if TYPE_CHECKING:
    from feature_store.dsl.viewed_group import ViewedGroup

Cadence = Literal["daily", "hourly"]
CADENCE_SIZE: dict[str, int] = {"daily": DAY, "hourly": HOUR}


@dataclass(frozen=True, eq=False, config=STRICT)
class FeatureGroup(Definition):
    """Features of one entity, computed together; identified by name and version.

    Args:
        name: snake_case name, unique together with the version.
        entity: what the features describe; its join key is a column of every source used.
        source: rows the features aggregate (not together with `query`); those of a stream are aggregated by Flink.
        query: SQL over `sources` that returns the join key and one column per feature, evaluated at every `slide` with
            the rows before that instant; the column `as_of` holds the instant.
        sources: the sources a query reads, by their names.
        columns: computed columns, name to SQL expression, usable in `where` and aggregations.
        where: condition on a row for it to count at all.
        features: the aggregated (or queried) features.
        derived: further features, name to SQL expression over `features`.
        refresh: "daily" or "hourly": the size of a partition and the schedule.
        slide: grid of feature timestamps; the length of a partition unless given, of a stream "1s".
        emit: "changes" (a row when the vector changes) or "snapshot" (a row for every entity at every slide).
        ttl: how long a row may be used after its feature timestamp; None is for ever.
        availability_delay: how long after its feature timestamp a row is taken to be known to serving: training does
            not use it sooner. "0s" unless given; of a stream "2s": its rows are readable 1 to 2 s after their time.
        freshness: greatest age of the newest materialization before the group counts as stale; a partition and two
            hours unless given, of a stream "2m".
        cache: for how long a server may remember a value that it has read, and a client a row that a server has given
            it, "1ms" to "1m"; each time the online store is asked unless given.
        start: first partition, as a date.
        buckets: hash buckets of the entity in the offline table.
        commit_interval: of a stream: how often its rows are committed to the offline table, "1s" to "1h".
        parallelism: of a stream: of its Flink job.
        expect_rows: how many rows a partition must have, against those before it: a dict of `RowsExpectation`.
        expect_source: how fresh the sources must be: a dict of `SourceExpectation`, such as {"max_age": "6h"}.
        max_overflow: how much may be lost because an INT does not fit 64 bits, as a share of a feature's values and of
            the rows that a run reads; more fails the run. Nothing unless given; of a stream 0.01.
        deprecated: what to use instead of this version, and when it may go.
        online_store: the name of the Redis that its rows are served from, of those that FS_ONLINE_STORES has; the one
            of FS_REDIS_URL unless given.
        access: "public" (every token with the scope read may read it) or "private" (its owner, and who has a grant).
    """

    name: str
    _: KW_ONLY
    version: int = 1
    entity: Entity
    source: SourceField | None = None
    query: str | None = None
    sources: tuple[BatchSource, ...] = ()
    owner: str
    description: str = ""
    columns: dict[str, str] = Field(default_factory=dict)
    where: str | None = None
    features: tuple[Feature, ...]
    derived: dict[str, str] = Field(default_factory=dict)
    refresh: Cadence = "daily"
    slide: Duration | None = None
    emit: Literal["changes", "snapshot"] | None = None
    ttl: Duration | None = None
    availability_delay: Duration | None = None
    freshness: Duration | None = None
    cache: Duration | None = None
    start: str = "2024-01-01"
    buckets: int = 4
    commit_interval: Duration = "5m"
    parallelism: int = 2
    expect_rows: RowsExpectation | None = None
    expect_source: SourceExpectation | None = None
    max_overflow: float | None = Field(default=None, ge=0, le=1)
    tags: dict[str, str] = Field(default_factory=dict)
    deprecated: Deprecated | None = None
    online_store: str = ""
    access: Access = "public"

    def _check(self) -> None:
        if (self.source is None) == (self.query is None):
            raise ValueError("give either source= (with aggregations) or query= (with sources=)")

    def run(
        self, rows: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Mapping[str, Any]]], *, as_of: datetime | str
    ) -> list[dict[str, Any]]:
        """The features of every entity in some rows as serving would have them at an instant: for your own tests.

        Computed in milliseconds by the reference interpreter, without any service; `compile/trial.py` has the details.

        Example:
            >>> rows = [{"user_id": "u1", "amount": 9.5, "status": "completed", "order_ts": "2026-01-30T12:00Z"}]
            >>> user_orders.run(rows, as_of="2026-01-31")
            [{'user_id': 'u1', 'user_order_value_sum_30d': 9.5}]

        Raises:
            DefinitionErrors: if the group is wrong.
            InputError: if a row has an unknown column or a value of another type.
        """
        from feature_store.compile.trial import run_group  # above this layer: a convenience for authors

        return run_group(self, rows, as_of)

    def as_source(self) -> BatchSource:
        """The group's rows as a source of another group: keys, features, and feature_timestamp as the event time.

        Example:
            >>> user_days = FeatureGroup("user_days", ...)      # with the feature user_order_count_1d
            >>> mean = Feature("user_order_mean_30d", agg.mean("user_order_count_1d"), window="30d", dtype=FLOAT)
            >>> FeatureGroup("user_habits", source=user_days.as_source(), features=[mean], ...)

        Raises:
            DefinitionError: if the group is wrong, or a stream.
        """
        from feature_store.plan.chain import rows_of  # above this layer: the types of derived features are known there

        return rows_of(self)

    def select(self, *features: str) -> ViewedGroup:
        """The group with some of its features only, in this order, to be read by a view."""
        return self._viewed().select(*features)

    def keyed_by(self, *key: str, prefix: str = "") -> ViewedGroup:
        """The group in a role of its own, to be read by a view.

        Args:
            key: for each column of the join key what holds it in the view: a column of the rows that a reader gives, or
                a feature of another group of the view.
            prefix: put before the names of the group and its features in what the view gives; a view that reads a group
                twice needs one.

        Example:
            >>> FeatureView("matching", groups=[user_orders, user_orders.keyed_by("seller_id", prefix="seller_")], ...)
        """
        return self._viewed().keyed_by(*key, prefix=prefix)

    def _viewed(self) -> ViewedGroup:
        from feature_store.dsl.viewed_group import ViewedGroup  # which refers to this module

        return ViewedGroup(self)

    @property
    def id(self) -> str:
        """The identity: "user_orders@1"."""
        return f"{self.name}@{self.version}"

    @property
    def stream(self) -> StreamSource | None:
        """The stream the features aggregate, if they do."""
        return self.source if isinstance(self.source, StreamSource) else None

    @property
    def partition_size(self) -> int:
        """Length of one partition in microseconds."""
        return CADENCE_SIZE[self.refresh]

    @property
    def slide_size(self) -> int:
        """Distance of two feature timestamps in microseconds."""
        if self.slide:
            return parse_duration(self.slide)
        return self.partition_size if self.stream is None else SECOND

    @property
    def emits(self) -> Literal["changes", "snapshot"]:
        """The emit mode in force: changes for aggregations, snapshot for queries, unless said otherwise."""
        return self.emit or ("changes" if self.query is None else "snapshot")

    @property
    def ttl_size(self) -> int | None:
        """The ttl in microseconds; None is unlimited."""
        return parse_duration(self.ttl) if self.ttl else None

    @property
    def availability_delay_size(self) -> int:
        """The availability delay in microseconds: none unless given; of a stream two seconds."""
        if self.availability_delay:
            return parse_duration(self.availability_delay)
        return 0 if self.stream is None else 2 * SECOND

    @property
    def freshness_size(self) -> int:
        """The freshness SLA in microseconds: one partition and two hours unless given; of a stream two minutes."""
        if self.freshness:
            return parse_duration(self.freshness)
        return self.partition_size + 2 * HOUR if self.stream is None else 2 * MINUTE

    @property
    def cache_size(self) -> int | None:
        """For how long values may be remembered, in microseconds; None: not at all."""
        return parse_duration(self.cache) if self.cache else None

    @property
    def overflow_share(self) -> float:
        """The share of values or rows that may be lost by overflow: none unless given, of a stream one percent."""
        if self.max_overflow is not None:
            return self.max_overflow
        return 0.0 if self.stream is None else 0.01

    @property
    def commit_size(self) -> int:
        """The commit interval in microseconds."""
        return parse_duration(self.commit_interval)

    @property
    def all_sources(self) -> tuple[BatchSource, ...]:
        """Every source that Spark reads; of a stream the event log."""
        if self.source is None:
            return self.sources
        return (self.source.log if isinstance(self.source, StreamSource) else self.source,)
