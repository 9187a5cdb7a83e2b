"""Whether the expectations of a feature fit its type."""

from __future__ import annotations

from collections.abc import Iterator

from feature_store.dsl.feature import Feature

_SETS = ("STRING", "INT", "BOOL")


def expectation_problems(feature: Feature) -> Iterator[tuple[str, str]]:
    """What is wrong in a feature's expectations, each with its remedy."""
    dtype = feature.dtype
    for bounds in feature.expect:
        if not dtype.is_numeric and (bounds.min is not None or bounds.max is not None):
            yield f"min and max need a number, the feature is {dtype}", "expect a null_rate, or values"
        if bounds.null_rate is not None and not 0 <= bounds.null_rate <= 1:
            yield f"null_rate={bounds.null_rate} is not a share", "use 0 to 1"
        if bounds.values is None:
            continue
        item = dtype.item or dtype
        if item.kind not in _SETS:
            yield f"values are of {', '.join(_SETS)} or lists of them, the feature is {dtype}", "expect min and max"
        elif not bounds.values or not all(item.accepts(value) for value in bounds.values):
            yield f"values={list(bounds.values)} are not values of {item}", f"give one or more of type {item}"
