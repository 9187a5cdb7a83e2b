"""How old the rows of groups may be, beside the metric of how old they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from serving.definitions import ServedDefinitions
from serving.families import Family, Labels


class FreshnessMetrics:
    """The freshness of what is served.

    Args:
        definitions: gives what is served at the moment.
    """

    def __init__(self, definitions: Callable[[], ServedDefinitions]) -> None:
        self._definitions = definitions

    def families(self) -> Iterator[Family]:
        """The metric at the moment."""
        numbers: dict[Labels, float] = {
            (viewed.id,): viewed.group.freshness / 1e6
            for served in self._definitions().served.values()
            for viewed in served.view.groups
        }
        name, description = "feature_store_group_freshness_seconds", "Rows of a group that are older are STALE"
        yield Family(name, description, "largest", ("group",), numbers)
