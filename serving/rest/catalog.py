"""The routes that show what is recorded: groups, views, entities, features, their users and where they come from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from feature_store.errors import InputError, NotFoundError, choices
from feature_store.explanations.catalogue import explanation_of
from feature_store.registry.records import GroupRecord, Kind, UsageRecord, ViewRecord
from feature_store.registry.store import Registry
from feature_store.registry.tables import Status
from feature_store.remote.schema import ViewDocument
from serving.definitions import ServedDefinitions
from serving.rest.documents import (
    EntityPage,
    FeaturePage,
    FeatureSummary,
    GroupDetail,
    GroupPage,
    GroupSummary,
    Usage,
    Versions,
    VersionSummary,
    ViewDetail,
    ViewPage,
    ViewSummary,
)
from serving.rest.json_answers import json_answer

MOST_ITEMS = 1_000
"""Of one page of a list."""
MOST_OFFSET = 10**9
T = TypeVar("T", bound=msgspec.Struct)


class CatalogRoutes:
    """Answers from the server's snapshot of the registry; users and lineage from the registry itself."""

    def __init__(self, definitions: Callable[[], ServedDefinitions], registry: Registry) -> None:
        self._definitions = definitions
        self._registry = registry

    @property
    def routes(self) -> list[Route]:
        """The routes, for the application."""
        return [
            Route("/entities", self.entities),
            Route("/feature-groups", self.groups),
            Route("/feature-groups/{id}", self.group),
            Route("/feature-groups/{id}/versions", self.group_versions),
            Route("/feature-groups/{id}/usage", self.group_usage),
            Route("/feature-views", self.views),
            Route("/feature-views/{id}", self.view),
            Route("/feature-views/{id}/versions", self.view_versions),
            Route("/feature-views/{id}/usage", self.view_usage),
            Route("/features", self.features),
            Route("/lineage/{subject:path}", self.lineage),
            Route("/errors/{code}", self.explanation),
        ]

    async def entities(self, request: Request) -> Response:
        """All entities."""
        return page(request, EntityPage, [*self._definitions().snapshot.entities])

    async def groups(self, request: Request) -> Response:
        """Groups by text, owner, entity and status."""
        groups = self._definitions().snapshot.groups
        found = [GroupSummary(**_summary(group), entity=group.entity) for group in groups]
        return page(request, GroupPage, filtered(request, found, ("owner", "entity", "status")))

    async def views(self, request: Request) -> Response:
        """Views by text, owner and status."""
        found = [ViewSummary(**_summary(view), groups=view.groups) for view in self._definitions().snapshot.views]
        return page(request, ViewPage, filtered(request, found, ("owner", "status")))

    async def features(self, request: Request) -> Response:
        """Features of all groups by text, group and type."""
        found = [
            FeatureSummary(
                feature.name, group.id, feature.dtype, feature.default, feature.description, group.owner, group.status
            )
            for group in self._definitions().snapshot.groups
            for feature in group.features
        ]
        return page(request, FeaturePage, filtered(request, found, ("group", "dtype", "owner", "status")))

    async def group(self, request: Request) -> Response:
        """One group: its definition, its features, the views that read it."""
        snapshot = self._definitions().snapshot
        record = self._record("group", request)
        readers = [view.id for view in snapshot.views if record.id in view.groups]
        return json_answer(_plain(record) | _plain(GroupDetail(record.id, readers, self._schema("group", record))))

    async def view(self, request: Request) -> Response:
        """One view: its definition, and what it reads."""
        record = self._record("view", request)
        return json_answer(_plain(record) | _plain(ViewDetail(record.id, self._schema("view", record))))

    async def group_versions(self, request: Request) -> Response:
        """The versions of a group's name."""
        return self._versions(request, self._definitions().snapshot.groups)

    async def view_versions(self, request: Request) -> Response:
        """The versions of a view's name."""
        return self._versions(request, self._definitions().snapshot.views)

    async def group_usage(self, request: Request) -> Response:
        """The models that read a group."""
        return await self._usage(request, "group")

    async def view_usage(self, request: Request) -> Response:
        """The models that read a view."""
        return await self._usage(request, "view")

    async def lineage(self, request: Request) -> Response:
        """What something comes from, and what comes from it."""
        found = await asyncio.to_thread(self._registry.lineage, request.path_params["subject"])
        return json_answer(found)

    async def explanation(self, request: Request) -> Response:
        """What is said of an error code."""
        return json_answer(explanation_of(request.path_params["code"]))

    async def _usage(self, request: Request, kind: Kind) -> Response:
        record = self._record(kind, request)

        def read() -> tuple[UsageRecord, ...]:
            return self._registry.usage(record.id, kind=kind)

        return json_answer(Usage(record.id, await asyncio.to_thread(read)))

    def _versions(self, request: Request, records: Iterable[GroupRecord | ViewRecord]) -> Response:
        name = request.path_params["id"].partition("@")[0]
        found = [VersionSummary(**_summary(record)) for record in records if record.name == name]
        if not found:
            raise NotFoundError(
                f"nothing is recorded under the name {name!r}",
                remedy="see the list of the route above",
                code="not-recorded",
            )
        return json_answer(Versions(name, found))

    def _schema(self, kind: Kind, record: GroupRecord | ViewRecord) -> ViewDocument | None:
        """What readers have to know to read it; None if it is not served."""
        served = self._definitions().served.get((kind, record.id))
        return None if served is None else ViewDocument.of(served.view)

    def _record(self, kind: Kind, request: Request) -> GroupRecord | ViewRecord:
        """The recorded version of an id, retired or not."""
        definitions, name = self._definitions(), request.path_params["id"]
        records: Sequence[GroupRecord | ViewRecord] = (
            definitions.snapshot.groups if kind == "group" else definitions.snapshot.views
        )
        wanted = name if "@" in name else definitions.newest.get((kind, name), name)
        for record in records:
            if record.id == wanted:
                return record
        raise NotFoundError(
            f"there is no feature {kind} {name!r}",
            remedy=choices(name, [record.id for record in records][:50], f"feature {kind}s"),
            code="not-recorded",
        )


def _summary(record: GroupRecord | ViewRecord) -> dict[str, Any]:
    deprecated = record.deprecated
    return {
        "id": record.id,
        "name": record.name,
        "version": record.version,
        "owner": record.owner,
        "status": record.status,
        "description": record.description,
        "successor": None if deprecated is None else deprecated.successor,
    }


def filtered(request: Request, items: list[T], fields: tuple[str, ...]) -> list[T]:
    """The items whose fields are as the query says, and that have the text of `q` in one of their fields.

    Raises:
        InputError: if `status` is none.
    """
    wanted = {field: request.query_params[field] for field in fields if field in request.query_params}
    if wanted.get("status", Status.ACTIVE) not in [*Status]:
        raise InputError(
            f"there is no status {wanted['status'][:80]!r}",
            where="status",
            remedy=f"statuses are {', '.join(Status)}",
            code="malformed-request",
        )
    text = request.query_params.get("q", "").lower()
    return [
        item
        for item in items
        if all(getattr(item, field) == value for field, value in wanted.items())
        and (not text or any(text in str(value).lower() for value in msgspec.structs.astuple(item)))
    ]


def page(request: Request, of: Callable[[list[Any], int], msgspec.Struct], items: list[Any]) -> Response:
    """The items from the query's `offset` on, `limit` at most.

    Raises:
        InputError: if one of these is no number, or too large.
    """
    offset = number_in(request, "offset", 0, MOST_OFFSET)
    limit = number_in(request, "limit", MOST_ITEMS, MOST_ITEMS)
    return json_answer(of(items[offset : offset + limit], len(items)))


def number_in(request: Request, name: str, default: int, most: int) -> int:
    """A whole number in a query, from 0 to `most`.

    Raises:
        InputError: if it is something else.
    """
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 12 and int(text) <= most):
        raise InputError(
            f"{name} is a whole number up to {most}, not {text[:80]!r}",
            where="query",
            remedy=f"write {name}={default}, or leave it out",
            code="malformed-request",
        )
    return int(text)


def _plain(record: Any) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(record)
    return plain
