"""The routes that show the registered models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from feature_store.registry.model_records import ModelRecord, model_of
from serving.definitions import ServedDefinitions
from serving.rest.catalog import filtered, page
from serving.rest.documents import ModelDetail, ModelPage, ModelSummary, ModelVersions
from serving.rest.json_answers import json_answer


class ModelRoutes:
    """Answers from the server's snapshot of the registry."""

    def __init__(self, definitions: Callable[[], ServedDefinitions]) -> None:
        self._definitions = definitions

    @property
    def routes(self) -> list[Route]:
        """The routes, for the application."""
        return [
            Route("/models", self.models),
            Route("/models/{name}", self.model),
            Route("/models/{name}/versions", self.versions),
        ]

    async def models(self, request: Request) -> Response:
        """All versions of all models by text, view and owner."""
        found = [ModelSummary(**_told(model)) for model in self._records]
        return page(request, ModelPage, filtered(request, found, ("view", "owner")))

    async def model(self, request: Request) -> Response:
        """A version of a model: what it reads, in its order. One that is retired is shown if it is named."""
        name = request.path_params["name"]
        named = [model for model in self._records if model.id == name]
        model = named[0] if named else model_of(self._records, name)
        return json_answer(ModelDetail(**_told(model), features=model.features, uri=model.uri))

    async def versions(self, request: Request) -> Response:
        """All versions of a model's name."""
        name = request.path_params["name"].partition("@")[0]
        found = [ModelSummary(**_told(model)) for model in self._records if model.name == name]
        if not found:
            model_of(self._records, name)  # says that there is none
        return json_answer(ModelVersions(name, found))

    @property
    def _records(self) -> Sequence[ModelRecord]:
        return self._definitions().models.records


def _told(model: ModelRecord) -> dict[str, Any]:
    return {
        "id": model.id,
        "name": model.name,
        "version": model.version,
        "view": model.view,
        "owner": model.owner,
        "dataset": model.dataset,
        "created_by": model.created_by,
        "created_at": model.created_at,
        "retired_at": model.retired_at,
    }
