"""The feature store as a Dagster resource: what assets and training jobs call."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import dagster as dg
from pyiceberg.catalog import Catalog

from feature_store.client import FeatureStore
from feature_store.online.materialize import MaterializeReport
from feature_store.plan.schema import GroupSchema
from feature_store.settings import Settings

if TYPE_CHECKING:
    from feature_store.streaming.jobs import Streams


class FeatureStoreResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Gives training assets the same object as `FeatureStore()`.

    Example:
        >>> @dg.asset
        ... def churn_training_set(store: FeatureStoreResource) -> dg.MaterializeResult:
        ...     data = store.client.training_dataset("repurchase@1", labels, name="churn").wait()
    """

    @cached_property
    def settings(self) -> Settings:
        """Where the stack is."""
        return Settings.load()

    @cached_property
    def client(self) -> FeatureStore:
        """The feature store's client."""
        return FeatureStore(self.settings)

    @property
    def catalog(self) -> Catalog:
        """The Iceberg catalog."""
        return self.client.catalog

    @cached_property
    def streams(self) -> Streams:
        """The Flink jobs of the project's streams."""
        from feature_store.dsl.collect import load_project
        from feature_store.plan.project import compile_project
        from feature_store.streaming.jobs import open_streams

        plans = compile_project(load_project("feature_defs")).groups
        return open_streams(self.settings, self.catalog, self.client.registry, plans)

    def materialize_online(self, schema: GroupSchema) -> MaterializeReport:
        """Brings the newest rows of a group to Redis."""
        return self.client.materialize_online(schema)
