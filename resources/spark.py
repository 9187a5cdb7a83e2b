"""Spark for the steps of one run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import PrivateAttr

from feature_store.plan.nodes import GroupPlan
from feature_store.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from feature_store.offline.shared_tiles import SharedTiles


class SparkResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """A session that starts with the first step that asks for it and ends with the run."""

    _held: ExitStack = PrivateAttr(default_factory=ExitStack)
    _session: object = PrivateAttr(default=None)
    _tiles: dict[tuple[str, ...], SharedTiles] = PrivateAttr(default_factory=dict)

    def session(self) -> SparkSession:
        """The run's Spark session.

        Raises:
            StackError: if Spark cannot start.
        """
        from feature_store.offline.session import spark_session

        if self._session is None:
            self._session = self._held.enter_context(spark_session(Settings.load(), "feature-store"))
        return self._session  # type: ignore[return-value]

    def tiles_of(self, plans: Sequence[GroupPlan]) -> SharedTiles:
        """What groups of the run have in common (`plan.sharing`): for the same groups the same."""
        from feature_store.offline.shared_tiles import SharedTiles

        groups = tuple(plan.group.id for plan in plans)
        if groups not in self._tiles:
            self._tiles[groups] = SharedTiles(self.session(), Settings.load(), plans)
        return self._tiles[groups]

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002
        """Stops Spark."""
        self._held.close()
        self._session = None
        self._tiles.clear()
