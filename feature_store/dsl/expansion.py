"""One declaration, several features: an aggregation over several windows or for each category, an encoding."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from feature_store.dsl.feature import Feature
from feature_store.dsl.window import Window, parse_window

PLACE = "{value}"
"""Where a name takes the value's part."""
WINDOW_PLACE = "{window}"
"""Where a name takes the window's part."""


def windowed(feature: Feature, windows: Iterable[str | Window]) -> list[Feature]:
    """The feature over each of several windows.

    Args:
        feature: without a window; its name holds "{window}", where "7d", "all_time" or "session" goes.

    Example:
        >>> count = Feature("user_order_count_{window}", agg.count(), dtype=INT)
        >>> FeatureGroup(..., features=[*windowed(count, ["7d", "30d", "all_time"])])

    Raises:
        ValueError: if the name has no "{window}", the feature has a window, a window is none, or two give one name.
    """
    if WINDOW_PLACE not in feature.name or feature.window is not None:
        raise ValueError(f"the feature {feature.name!r} needs {WINDOW_PLACE} in its name, and no window of its own")
    found: dict[str, Feature] = {}
    for window in map(parse_window, windows):
        name = feature.name.replace(WINDOW_PLACE, "session" if window.session else str(window))
        if name in found:
            raise ValueError(f"two windows give the name {name!r}: write one of them as a feature of its own")
        found[name] = replace(feature, name=name, window=window)
    return list(found.values())


def bucketed(feature: Feature, by: str, values: Iterable[str | int]) -> list[Feature]:
    """The feature for each value of a column: an aggregation per category.

    Args:
        feature: whose name holds "{value}", where the value's name goes.
        by: the column, one of the source or a computed one.
        values: those that get a feature; a vector has a fixed length, so they are named, not found.

    Example:
        >>> count = Feature("user_order_count_{value}_30d", agg.count(), window="30d", dtype=INT)
        >>> FeatureGroup(..., features=[*bucketed(count, by="category", values=["shoes", "hats"])])

    Raises:
        ValueError: if the name has no "{value}", or two values give one name.
    """
    if PLACE not in feature.name:
        raise ValueError(f"the name {feature.name!r} does not say where the value goes: write {PLACE} in it")
    of_feature = f"({feature.where}) AND " if feature.where else ""
    return [
        replace(feature, name=feature.name.replace(PLACE, part), where=f"{of_feature}{by} = {literal}")
        for part, literal in _parts(values).items()
    ]


def one_hot(feature: str, values: Iterable[str | int]) -> dict[str, str]:
    """Derived features, one for each value: 1 where a feature has it, 0 where it has another one, NULL of NULL.

    Example:
        >>> FeatureGroup(..., derived=one_hot("user_tier", ["free", "paid"]))
        adds user_tier_is_free and user_tier_is_paid

    Raises:
        ValueError: if two values give one name.
    """
    return {f"{feature}_is_{part}": f"ordinal({feature}, {literal})" for part, literal in _parts(values).items()}


def _parts(values: Iterable[str | int]) -> dict[str, str]:
    """For each value its part of a name, and how it is written in SQL."""
    found: dict[str, str] = {}
    for value in values:
        part = re.sub(r"[^a-z0-9]+", "_", str(value).lower()).strip("_")
        if not part or part in found:
            raise ValueError(f"the value {value!r} gives no name of its own ({part!r}): rename it in a computed column")
        found[part] = "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)
    return found
