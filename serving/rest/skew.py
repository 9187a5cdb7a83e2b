"""The routes of skew reports: those that the registry keeps of views, for those who may read the view."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from feature_store.registry.records import Kind
from feature_store.registry.skew_reports import KEEP, SkewReports
from feature_store.registry.store import Registry
from serving.auth import Gate
from serving.definitions import ServedDefinitions, ServedView
from serving.rest.catalog import number_in
from serving.rest.documents import SkewHistory
from serving.rest.json_answers import json_answer


class SkewRoutes:
    """Answers from the registry, without the features that the caller must not see."""

    def __init__(self, definitions: Callable[[], ServedDefinitions], registry: Registry, gate: Gate) -> None:
        self._definitions = definitions
        self._reports = SkewReports(registry.engine)
        self._gate = gate

    @property
    def routes(self) -> list[Route]:
        """The routes, for the application."""
        return [
            Route("/feature-groups/{id}/skew-report", self.of_group),
            Route("/feature-views/{id}/skew-report", self.of_view),
        ]

    async def of_view(self, request: Request) -> Response:
        """The newest reports of a view."""
        served, masked = self._served(request, "view")
        reports = await asyncio.to_thread(self._reports.newest, served.id, number_in(request, "count", 1, KEEP))
        return json_answer(SkewHistory(served.id, [_without(report, masked) for report in reports]))

    async def of_group(self, request: Request) -> Response:
        """The newest reports of the views that read a group: of its features."""
        served, masked = self._served(request, "group")
        count = number_in(request, "count", 1, KEEP)
        views = [
            (each.id, [viewed.id for viewed in each.view.groups if viewed.group.id == served.id])
            for each in self._definitions().served.values()
            if each.kind == "view"
        ]

        def read() -> list[dict[str, Any]]:
            return [
                _of_groups(_without(report, masked), names)
                for view, names in views
                if names
                for report in self._reports.newest(view, count)
            ]

        reports = sorted(await asyncio.to_thread(read), key=lambda report: str(report["created"]), reverse=True)
        return json_answer(SkewHistory(served.id, reports[:count]))

    def _served(self, request: Request, kind: Kind) -> tuple[ServedView, frozenset[str]]:
        served = self._definitions().find(kind, request.path_params["id"])
        return served, self._gate.masked(request.state.token, served)


def _without(report: dict[str, Any], masked: Collection[str]) -> dict[str, Any]:
    """A report without features that must not be seen."""
    if not masked:
        return report
    return _of_features(report, lambda feature: feature["name"] not in masked)


def _of_groups(report: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    """A report without the features of other groups."""
    return _of_features(report, lambda feature: feature["group"] in names)


def _of_features(report: dict[str, Any], chosen: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    features, replay = [*filter(chosen, report["features"])], report["replay"]
    replayed = [*filter(chosen, replay["features"])]
    outcomes = [feature["outcomes"] for feature in replayed]
    return {
        **report,
        "skewed": [feature["name"] for feature in features if feature["is_skewed"]],
        "features": features,
        "replay": {
            **replay,
            "compared": sum(sum(counts.values()) - counts.get("pending", 0) for counts in outcomes),
            "equal": sum(counts.get("equal", 0) for counts in outcomes),
            "pending": sum(counts.get("pending", 0) for counts in outcomes),
            "features": replayed,
        },
    }
