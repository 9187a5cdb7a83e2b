"""How far features look back."""

from __future__ import annotations

from collections.abc import Sequence

from feature_store.dsl.view import FeatureView


def longest_window(views: Sequence[FeatureView]) -> int | None:
    """The longest window of the features of views, in microseconds; 0 if none has one.

    Windows over all time do not count: they have no length, and no gap in time keeps two labels from sharing events. Of
    a session it is the gap after which it ends. None where definitions do not say it: of a group that is a query, or
    that is computed over the rows of another group; and without a definition.
    """
    groups = [role.group for view in views for role in view.viewed]
    if not groups or any(
        group.query is not None or any(source.of_group for source in group.all_sources) for group in groups
    ):
        return None
    windows = [feature.window for group in groups for feature in group.features if feature.window is not None]
    return max((window.size for window in windows if window.size is not None), default=0)
