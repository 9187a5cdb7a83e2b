"""A feature store on Dagster: a feature is written once, and is the same number in training and in serving.

Names are imported when they are asked for: a program that only reads over HTTP needs none of the packages that
definitions need, and definitions do without those of the store.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from feature_store.client import FeatureStore
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
    from feature_store.pit.label_files import LabelFiles
    from feature_store.pit.label_sources import LabelQuery, LabelTable
    from feature_store.remote.client import AsyncFeatureStoreClient, FeatureStoreClient

__all__ = [
    "BOOL",
    "EMBEDDING",
    "FLOAT",
    "INT",
    "LIST",
    "STRING",
    "TIMESTAMP",
    "AsyncFeatureStoreClient",
    "BatchSource",
    "Deprecated",
    "Entity",
    "Expectation",
    "Feature",
    "FeatureGroup",
    "FeatureStore",
    "FeatureStoreClient",
    "FeatureView",
    "LabelFiles",
    "LabelQuery",
    "LabelTable",
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
_MODULES = {
    "client": ("FeatureStore",),
    "dsl.aggregation": ("agg",),
    "dsl.deprecation": ("Deprecated",),
    "dsl.entity": ("Entity",),
    "dsl.expansion": ("bucketed", "one_hot", "windowed"),
    "dsl.expectation": ("Expectation", "RowsExpectation", "SourceExpectation"),
    "dsl.feature": ("Feature",),
    "dsl.group": ("FeatureGroup",),
    "dsl.on_demand": ("OnDemand",),
    "dsl.source": ("BatchSource", "StreamSource"),
    "dsl.view": ("FeatureView",),
    "dsl.window": ("session",),
    "dtypes": ("BOOL", "EMBEDDING", "FLOAT", "INT", "LIST", "STRING", "TIMESTAMP"),
    "pit.label_files": ("LabelFiles",),
    "pit.label_sources": ("LabelQuery", "LabelTable"),
    "remote.client": ("AsyncFeatureStoreClient", "FeatureStoreClient"),
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """A public name, kept here once it was asked for."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    return found
