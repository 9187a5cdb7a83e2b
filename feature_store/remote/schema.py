"""What readers of a view have to know of it, as a document that a server shows."""

from __future__ import annotations

import msgspec

from feature_store.dtypes import parse_dtype
from feature_store.plan.schema import Column, GroupSchema, OnDemandColumn, ViewedSchema, ViewSchema


class ColumnDocument(msgspec.Struct, frozen=True):
    """A column; the type is written as in a definition."""

    name: str
    dtype: str


class GroupDocument(msgspec.Struct, frozen=True):
    """A group in one role of a view; durations are microseconds.

    Attributes:
        key_names: what the view calls the key columns; empty: as the group does.
        prefix: put before the names of the group and its features.
    """

    name: str
    version: int
    keys: tuple[ColumnDocument, ...]
    features: tuple[ColumnDocument, ...]
    ttl: int | None
    availability_delay: int
    freshness: int
    buckets: int
    key_names: tuple[str, ...] = ()
    prefix: str = ""
    cache: int | None = None


class ViewDocument(msgspec.Struct, frozen=True):
    """A view, or a group as a view of itself: the names and types of what is asked for and answered."""

    name: str
    version: int
    groups: tuple[GroupDocument, ...]
    on_demand: tuple[ColumnDocument, ...] = ()
    request: tuple[ColumnDocument, ...] = ()

    @classmethod
    def of(cls, view: ViewSchema) -> ViewDocument:
        """The document of a view."""
        groups = tuple(_group_document(viewed) for viewed in view.groups)
        return cls(view.name, view.version, groups, _documents(view.on_demand), _documents(view.request))

    def schema(self) -> ViewSchema:
        """The view, without what only a server has to know: defaults, expectations, and how features are computed.

        Raises:
            ValueError: if a type is not known here: the server is newer.
        """
        return ViewSchema(
            self.name,
            self.version,
            tuple(_viewed(group) for group in self.groups),
            tuple(OnDemandColumn(each.name, parse_dtype(each.dtype)) for each in self.on_demand),
            _columns(self.request),
        )


def _documents(columns: tuple[Column, ...]) -> tuple[ColumnDocument, ...]:
    return tuple(ColumnDocument(column.name, str(column.dtype)) for column in columns)


def _columns(documents: tuple[ColumnDocument, ...]) -> tuple[Column, ...]:
    return tuple(Column(each.name, parse_dtype(each.dtype)) for each in documents)


def _group_document(viewed: ViewedSchema) -> GroupDocument:
    group = viewed.group
    return GroupDocument(
        group.name,
        group.version,
        _documents(group.keys),
        _documents(group.features),
        group.ttl,
        group.availability_delay,
        group.freshness,
        group.buckets,
        viewed.key_names,
        viewed.prefix,
        group.cache,
    )


def _viewed(document: GroupDocument) -> ViewedSchema:
    group = GroupSchema(
        document.name,
        document.version,
        _columns(document.keys),
        _columns(document.features),
        document.ttl,
        document.availability_delay,
        document.freshness,
        document.buckets,
        document.cache,
    )
    return ViewedSchema(group, document.key_names, document.prefix)
