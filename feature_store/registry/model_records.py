"""Registered models as plain values: which view and which features each version reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from feature_store.errors import ConflictError, NotFoundError, choices


@dataclass(frozen=True)
class ModelFeature:
    """A feature that a model reads, by what its view calls it.

    Attributes:
        origin: the stored feature, "user_orders@1/user_order_count_30d"; None: it is an on-demand feature.
    """

    name: str
    dtype: str
    origin: str | None = None


@dataclass(frozen=True)
class ModelRecord:
    """A version of a model.

    Attributes:
        view: the version of the view that it reads, which pins those of the groups.
        features: in the order of the model.
        dataset: the id of the training dataset that it was trained on; None: not said.
        uri: where the model itself lies; empty: not said.
        retired_at: when it was recorded as gone; None: it is in use.
    """

    name: str
    version: int
    view: str
    features: tuple[ModelFeature, ...]
    owner: str
    dataset: str | None = None
    uri: str = ""
    created_by: str = field(default="", compare=False)
    created_at: datetime | None = field(default=None, compare=False)
    retired_at: datetime | None = field(default=None, compare=False)

    @property
    def id(self) -> str:
        """The identity: "ranker@3"."""
        return f"{self.name}@{self.version}"

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """The names of its features, in its order."""
        return tuple(feature.name for feature in self.features)


def model_of(models: Iterable[ModelRecord], name: str) -> ModelRecord:
    """The model "ranker@3", or the latest version of "ranker": the highest that is not retired.

    Raises:
        NotFoundError: if there is none; names what there is.
        ConflictError: if it is retired.
    """
    known = [*models]
    found = [model for model in known if name in (model.id, model.name)]
    if not found:
        of_name = [model.id for model in known if model.name == name.partition("@")[0]]
        remedy = f"registered are: {', '.join(of_name)}" if of_name else _choices(name, known)
        raise NotFoundError(f"there is no model {name!r}", remedy=remedy, code="unknown-model")
    live = [model for model in found if model.retired_at is None]
    if not live:
        raise retired_model(found[-1])
    return max(live, key=lambda model: model.version)


def retired_model(model: ModelRecord) -> ConflictError:
    """What a reader of a retired model is told."""
    return ConflictError(f"the model {model.id} is retired", remedy="use a newer version", code="retired")


def _choices(name: str, known: Iterable[ModelRecord]) -> str:
    return choices(name, sorted({model.name for model in known})[:50], "models")
