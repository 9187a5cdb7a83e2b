"""The names of online stores that groups are served from."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from feature_store.dsl.group import FeatureGroup
from feature_store.errors import DefinitionError, DefinitionErrors


def check_online_stores(groups: Iterable[FeatureGroup], known: Collection[str]) -> None:
    """Refuses groups of an online store that nobody knows.

    Args:
        known: the names in FS_ONLINE_STORES.

    Raises:
        DefinitionErrors: naming the groups.
    """
    wrong = [group for group in groups if group.online_store and group.online_store not in known]
    if wrong:
        raise DefinitionErrors([unknown_store(group.online_store, f"group {group.id}") for group in wrong])


def unknown_store(name: str, where: str) -> DefinitionError:
    """What is said of the name of an online store that nobody knows."""
    return DefinitionError(
        f"no online store has the name {name!r}",
        where=where,
        remedy=f"add {name}=redis://host:port to FS_ONLINE_STORES, or leave online_store out",
        code="unknown-online-store",
    )
