"""Asset keys: one place that names things in Dagster."""

from __future__ import annotations

from dagster import AssetKey

from feature_store.dsl.group import FeatureGroup
from feature_store.dsl.source import BatchSource, StreamSource
from feature_store.dsl.view import FeatureView


def offline_key(group: FeatureGroup) -> AssetKey:
    """The Iceberg table of a group: offline/user_orders/v1."""
    return AssetKey(["offline", group.name, f"v{group.version}"])


def online_key(group: FeatureGroup) -> AssetKey:
    """The vectors of a group in Redis: online/user_orders/v1."""
    return AssetKey(["online", group.name, f"v{group.version}"])


def reconcile_key(group: FeatureGroup) -> AssetKey:
    """The comparison of a streaming group with batch: reconcile/user_activity/v1."""
    return AssetKey(["reconcile", group.name, f"v{group.version}"])


def log_key(stream: StreamSource) -> AssetKey:
    """The event log of a stream: source/clicks_log."""
    return source_key(stream.log)


def skew_key(view: FeatureView) -> AssetKey:
    """The skew report of a view: skew/ranking/v1."""
    return AssetKey(["skew", view.name, f"v{view.version}"])


def maintenance_key() -> AssetKey:
    """The maintenance of all Iceberg tables that the store writes: maintenance/tables."""
    return AssetKey(["maintenance", "tables"])


def source_key(source: BatchSource | StreamSource) -> AssetKey:
    """What a group is computed from: source/orders, or the table of another group."""
    if isinstance(source, BatchSource) and source.of_group:
        name, _, version = source.of_group.partition("@")
        return AssetKey(["offline", name, f"v{version}"])
    return AssetKey(["source", source.name])


def op_name(key: AssetKey) -> str:
    """The name of the step that makes an asset."""
    return "__".join(key.path)
