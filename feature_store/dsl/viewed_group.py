"""A feature group as one view reads it: by which key, under which names, which of its features."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Annotated, Any

from pydantic import Discriminator, Tag
from pydantic.dataclasses import dataclass

from feature_store.dsl.definition import STRICT, Definition
from feature_store.dsl.group import FeatureGroup


@dataclass(frozen=True, eq=False, config=STRICT)
class ViewedGroup(Definition):
    """A group in one role of a view; `FeatureGroup.select` and `FeatureGroup.keyed_by` make it.

    Args:
        features: the features that are read, in this order; all of them unless given.
        key: what holds the group's key in this view: columns of the rows that a reader gives, or features of other
            groups of the view, by their names in the view; the entity's join key unless given.
        prefix: put before the names of the group and its features in what the view gives.
    """

    group: FeatureGroup
    _: KW_ONLY
    features: tuple[str, ...] | None = None
    key: tuple[str, ...] | None = None
    prefix: str = ""

    def _check(self) -> None:
        if self.features == ():
            raise ValueError("select() needs at least one feature")
        if self.key == ():
            raise ValueError("keyed_by() needs at least one column")

    def select(self, *features: str) -> ViewedGroup:
        """The same role with some of its features only, in this order."""
        return ViewedGroup(self.group, features=features, key=self.key, prefix=self.prefix)

    def keyed_by(self, *key: str, prefix: str = "") -> ViewedGroup:
        """The same features in another role."""
        return ViewedGroup(self.group, features=self.features, key=key, prefix=prefix)

    @property
    def id(self) -> str:
        """What the view calls it: "user_orders@1", with the prefix before it."""
        return f"{self.prefix}{self.group.id}"


def as_viewed(group: FeatureGroup | ViewedGroup) -> ViewedGroup:
    """The role of a group that stands in a view; one that stands for itself is read whole and by its own key."""
    return group if isinstance(group, ViewedGroup) else ViewedGroup(group)


def _kind(group: Any) -> str:
    """Which of the two a value or its JSON form is: only a role has a group."""
    is_role = "group" in group if isinstance(group, dict) else isinstance(group, ViewedGroup)
    return "role" if is_role else "group"


GroupField = Annotated[
    Annotated[FeatureGroup, Tag("group")] | Annotated[ViewedGroup, Tag("role")], Discriminator(_kind)
]
