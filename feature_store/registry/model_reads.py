"""Registering models, and reading by their names, in a process that asks the stores itself."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from feature_store.errors import InputError
from feature_store.registry.model_records import ModelRecord, model_of
from feature_store.registry.models import RegisteredModels
from feature_store.registry.records import TrainingRecord
from feature_store.registry.store import Registry

if TYPE_CHECKING:
    from feature_store.datasets.dataset import StoredDataset

REMEMBERED_SECONDS = 5.0
"""How long it is remembered what is registered, for reads that are to be quick."""


class ModelReads:
    """Finds what a model reads.

    Attributes:
        registered: the models of the registry.
    """

    def __init__(self, registry: Registry) -> None:
        self.registered = RegisteredModels(registry)
        self._known: tuple[float, tuple[ModelRecord, ...]] | None = None

    def register(
        self,
        name: str,
        version: int,
        dataset: StoredDataset | TrainingRecord | str,
        features: Sequence[str] | None,
        owner: str,
        uri: str,
        by: str,
    ) -> ModelRecord:
        """Registers a model; see `FeatureStore.register_model`. It is read from here on."""
        if isinstance(dataset, str):
            view_id, made = dataset, None
        elif isinstance(dataset, TrainingRecord):
            view_id, made = dataset.view, dataset.id
        else:
            view_id, made = dataset.view_id, dataset.id
            features = dataset.feature_names if features is None else features
        done = self.registered.register(name, version, view_id, features, by=by, dataset=made, owner=owner, uri=uri)
        self._known = None
        return done

    def read_by(self, model: str, view_id: str) -> ModelRecord:
        """The model that is read by, "ranker@3" or "ranker".

        Args:
            view_id: empty: a read is of either a view or a model.

        Raises:
            InputError: if there is a view, too, or no model.
            NotFoundError: if it is not registered.
            ConflictError: if it is retired.
            StackError: if the registry does not answer.
        """
        if view_id or not model:
            raise InputError(
                "a read is of either a view or a model",
                where="view_id, model",
                remedy='give online("ranking@1", rows), or online(model="ranker", rows=rows)',
                code="malformed-request",
            )
        known, now = self._known, time.monotonic()
        if known is None or now - known[0] > REMEMBERED_SECONDS:
            known = self._known = now, self.registered.all()
        return model_of(known[1], model)
