"""One declaration, several features: an aggregation for each category, an encoding with a column for each value."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from feature_store.dsl.feature import Feature

PLACE = "{value}"
"""Where a name takes the value's part."""


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
