"""Feature views: what one model reads."""

from __future__ import annotations

from dataclasses import KW_ONLY

from pydantic import Field
from pydantic.dataclasses import dataclass

from feature_store.dsl.access import Access
from feature_store.dsl.definition import STRICT, Definition
from feature_store.dsl.deprecation import Deprecated
from feature_store.dsl.dtype_field import DTypeField
from feature_store.dsl.on_demand import OnDemand
from feature_store.dsl.viewed_group import GroupField, ViewedGroup, as_viewed


@dataclass(frozen=True, eq=False, config=STRICT)
class FeatureView(Definition):
    """The features of several groups, joined by entity, as one model reads them in training and in serving.

    Args:
        groups: what is read: groups, or roles of them (`group.select(...)`, `group.keyed_by(...)`).
        on_demand: features computed when the view is read; one may use those before it.
        request: values that a caller gives with a request, and label rows as columns: name to type.
        deprecated: what to use instead of this version, and when it may go.
        prejoin: whether the online store also keeps the rows of an entity together, as this view reads them: faster
            reads of several groups with the same key, slower writes of these groups, more memory.
        access: "public" (whoever may read all its groups may read it) or "private" (its owner, and who has a grant).
    """

    name: str
    _: KW_ONLY
    version: int = 1
    groups: tuple[GroupField, ...]
    owner: str
    description: str = ""
    on_demand: tuple[OnDemand, ...] = ()
    request: dict[str, DTypeField] = Field(default_factory=dict)
    deprecated: Deprecated | None = None
    prejoin: bool = False
    access: Access = "public"

    @property
    def id(self) -> str:
        """The identity: "ranking@1"."""
        return f"{self.name}@{self.version}"

    @property
    def viewed(self) -> tuple[ViewedGroup, ...]:
        """The roles in which groups are read, in order."""
        return tuple(as_viewed(group) for group in self.groups)
