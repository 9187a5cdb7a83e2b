"""The registered models that are served: found by name or id, without the registry."""

from __future__ import annotations

from collections.abc import Iterable

from feature_store.registry.model_records import ModelRecord, model_of, retired_model


class ServedModels:
    """All versions of all models, at one moment.

    Args:
        records: by name and version.
    """

    def __init__(self, records: Iterable[ModelRecord] = ()) -> None:
        self.records = tuple(records)
        self._names = {model.name for model in self.records}
        self._found: dict[str, ModelRecord] = {model.id: model for model in self.records}
        for model in self.records:
            if model.retired_at is None:
                self._found[model.name] = model  # the highest version comes last

    def find(self, name: str) -> ModelRecord | None:
        """The model "ranker@3", or the latest version of "ranker"; None if none of this name is registered.

        Raises:
            NotFoundError: if other versions of it are registered only.
            ConflictError: if it is retired.
        """
        found = self._found.get(name)
        if found is not None:
            if found.retired_at is not None:
                raise retired_model(found)
            return found
        if name.partition("@")[0] in self._names:
            return model_of(self.records, name)
        return None
