"""A feature store on Dagster: a feature is written once, and is the same number in training and in serving."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from feature_store.dsl.aggregation import agg
from feature_store.dsl.deprecation import Deprecated
from feature_store.dsl.entity import Entity
from feature_store.dsl.expansion import bucketed, one_hot, windowed
from feature_store.dsl.expectation import Expectation, RowsExpectation, SourceExpectation
from feature_store.dsl.feature import Feature
from feature_store.dsl.group import FeatureGroup
from feature_store.dsl.on_demand import OnDemand
from feature_store.dsl.source import BatchSource, StreamSource
from feature_store.dsl.view import FeatureView
from feature_store.dsl.window import session
from feature_store.dtypes import BOOL, EMBEDDING, FLOAT, INT, LIST, STRING, TIMESTAMP

if TYPE_CHECKING:
    from feature_store.client import FeatureStore

__all__ = [
    "BOOL",
    "EMBEDDING",
    "FLOAT",
    "INT",
    "LIST",
    "STRING",
    "TIMESTAMP",
    "BatchSource",
    "Deprecated",
    "Entity",
    "Expectation",
    "Feature",
    "FeatureGroup",
    "FeatureStore",
    "FeatureView",
    "OnDemand",
    "RowsExpectation",
    "SourceExpectation",
    "StreamSource",
    "agg",
    "bucketed",
    "one_hot",
    "session",
    "windowed",
]


def __getattr__(name: str) -> Any:
    """The client, imported when it is asked for: definitions and the command line do without it."""
    if name == "FeatureStore":
        from feature_store.client import FeatureStore

        return FeatureStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
