"""Tiles that groups of one run share: made by the first that needs them, kept by Spark until the last has read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from feature_store.compile.span import Span
from feature_store.compile.spark_expressions import quote
from feature_store.compile.spark_shared import compile_shared_tiles, has_tiles, own_tiles, shared_rows_after
from feature_store.offline.arrivals.transactions import same_versions
from feature_store.offline.late import Reading
from feature_store.offline.sources import InputCounts, open_sources
from feature_store.plan.nodes import GroupPlan
from feature_store.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True)
class Tiles:
    """A group's tiles.

    Args:
        inputs: what was read from the source.
        made_by: the statement that makes the tiles of all groups.
        own: the statement whose result are those of the group.
        others: the ids of the other groups.
    """

    inputs: tuple[InputCounts, ...]
    made_by: str
    own: str
    others: tuple[str, ...]


@dataclass(frozen=True)
class _Made:
    plans: tuple[GroupPlan, ...]
    span: Span
    seen: object
    inputs: tuple[InputCounts, ...]
    statement: str
    tiles: DataFrame


class SharedTiles:
    """The tiles of groups (`plan.sharing`) that one run computes one after the other.

    They are on the disks of Spark's workers; if some get lost, Spark makes them again.
    """

    def __init__(self, spark: SparkSession, settings: Settings, plans: Sequence[GroupPlan]) -> None:
        self._spark, self._settings, self._plans = spark, settings, tuple(plans)
        self._view = f"_tiles_of_{plans[0].group.name}_v{plans[0].group.version}"
        self._waiting = {plan.group.id for plan in plans}
        self._made: _Made | None = None

    @contextmanager
    def of(self, plan: GroupPlan, span: Span, reading: Reading) -> Iterator[Tiles | None]:
        """The tiles of a group for a span, to be read inside the context; None if it is better off without.

        That is where it has no tiles, where no other that is still to come has, or where its source has got rows since
        the tiles were made, which its own run would have to see.

        Raises:
            InputError: if the source does not fit its definition.
        """
        self._waiting.discard(plan.group.id)
        try:
            yield self._tiles(plan, span, reading) if has_tiles(plan, span) else None
        finally:
            if not self._waiting:
                self._drop()

    def _tiles(self, plan: GroupPlan, span: Span, reading: Reading) -> Tiles | None:
        seen = _seen(reading)
        if self._made is None:
            tiled = tuple(each for each in self._plans if has_tiles(each, span))
            if any(each.group.id in self._waiting for each in tiled):
                self._made = self._make(tiled, span, reading.snapshots, seen)
        made = self._made
        if made is None or (made.span.after, made.span.until, made.seen) != (span.after, span.until, seen):
            return None
        others = tuple(other.group.id for other in made.plans if other.group.id != plan.group.id)
        return Tiles(made.inputs, made.statement, own_tiles(made.plans, plan, span, self._view), others)

    def _make(self, plans: tuple[GroupPlan, ...], span: Span, snapshots: Mapping[str, int], seen: object) -> _Made:
        from pyspark import StorageLevel

        plan, after = plans[0], shared_rows_after(plans, span)
        inputs = open_sources(self._spark, self._settings, plan, after, span.until, snapshots)
        statement = compile_shared_tiles(plans, span)
        tiles = self._spark.sql(statement).persist(StorageLevel.DISK_ONLY)
        tiles.createOrReplaceTempView(self._view)  # of what the source's view is now, not of its name
        return _Made(plans, span, seen, inputs, f"CREATE TEMPORARY VIEW {quote(self._view)} AS\n{statement}", tiles)

    def _drop(self) -> None:
        if self._made is not None:
            self._spark.catalog.dropTempView(self._view)
            self._made.tiles.unpersist()
            self._made = None


def _seen(reading: Reading) -> object:
    """What a run has seen of its sources, equal for two runs only if no row came in between."""
    cursors = {**(reading.cursor or {}), **reading.seen}
    return dict(reading.snapshots), {location: same_versions(cursor) for location, cursor in cursors.items()}
