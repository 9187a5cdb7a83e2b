"""Registering models: a version of a model pins the view that it reads, and the features of it in the model's order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from feature_store.errors import ConflictError, InputError, NotFoundError, choices
from feature_store.registry.access.audit import announce, record_act
from feature_store.registry.database import service_errors, take_turn
from feature_store.registry.lifecycle import check_training
from feature_store.registry.model_records import ModelFeature, ModelRecord, model_of, retired_model
from feature_store.registry.model_rows import read_models, write_model
from feature_store.registry.records import GroupRecord, ViewRecord, name_and_version
from feature_store.registry.rows import note_usage, read_groups, read_usage, read_views
from feature_store.registry.store import Registry
from feature_store.registry.tables import (
    FeatureGroupRow,
    FeatureRow,
    FeatureUsageRow,
    FeatureViewGroupRow,
    FeatureViewRow,
    ModelRow,
    TrainingDatasetRow,
)

PURPOSE = "registered"
"""What a registered model is recorded to use its view for."""
_LONGEST_NAME = 200
_HIGHEST_VERSION = 2**63 - 1


class RegisteredModels:
    """The models of a registry. All methods raise StackError when the database does not answer."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def all(self) -> tuple[ModelRecord, ...]:
        """All versions of all models, by name and version."""
        with service_errors(self._registry.engine), Session(self._registry.engine) as session:
            return read_models(session)

    def get(self, name: str, version: int | None = None) -> ModelRecord:
        """A version of a model; the latest unless given: the highest that is not retired.

        Args:
            name: "ranker", or "ranker@3".

        Raises:
            NotFoundError: if there is none.
            ConflictError: if it is retired.
        """
        return model_of(self.all(), name if version is None else f"{name}@{version}")

    def register(
        self,
        name: str,
        version: int,
        view_id: str,
        features: Sequence[str] | None = None,
        *,
        by: str,
        dataset: str | None = None,
        owner: str = "",
        uri: str = "",
    ) -> ModelRecord:
        """Records a version of a model; nothing if the same is recorded already.

        Servers that follow the registry serve it at once. The model is a recorded user of the view from then on.

        Args:
            view_id: the view "ranking@1".
            features: the names of those that it reads of the view, in the model's order; all of it unless given.
            by: who registers it.
            dataset: the id of the recorded training dataset that it was trained on.
            owner: "team:x"; that of the view unless given.
            uri: where the model itself lies.

        Raises:
            NotFoundError: if the view is not recorded, or the dataset is not.
            InputError: if the name, the version or a feature cannot be one; if the dataset is of another view.
            ConflictError: if another model is registered under this name and version; if the view or a group that it
                reads is retired, or deprecated and the model no recorded user of the view.
        """
        _check_name(name, version)
        self._registry.view(view_id)  # says what there is, if it is not there
        with service_errors(self._registry.engine), Session(self._registry.engine) as session, session.begin():
            take_turn(session.connection(), self._registry.patience)
            of_view = _key_of(session, view_id)
            (view,) = read_views(session, FeatureViewRow.view_id == of_view)
            read = select(FeatureViewGroupRow.group_id).where(FeatureViewGroupRow.view_id == of_view)
            groups = read_groups(session, FeatureGroupRow.group_id.in_(read))
            chosen = _chosen(view, groups, features)
            given = ModelRecord(name, version, view.id, chosen, owner or view.owner, dataset, uri, by)
            if known := read_models(session, ModelRow.name == name, ModelRow.version == version):
                return _same(known[0], given, is_owner_given=bool(owner))
            usage = read_usage(session, FeatureUsageRow.view_id == of_view)
            check_training(view, groups, usage, name, "registering a model is")
            if dataset is not None:
                _check_dataset(session, dataset, of_view, view.id)
            write_model(session, given, of_view, _feature_ids(session, groups))
            note_usage(session, "view_id", of_view, name, PURPOSE)
            record_act(session, by, "register", f"model {given.id}", {"view": view.id, "dataset": dataset})
            announce(session, "usage")
            return read_models(session, ModelRow.name == name, ModelRow.version == version)[0]

    def retire(self, model_id: str, by: str) -> ModelRecord:
        """Records a version of a model as gone, for good: it is not served any more, and its view may be retired.

        Args:
            model_id: "ranker@3".

        Raises:
            NotFoundError: if it is not registered.
            ConflictError: if it is retired already.
        """
        name, version = name_and_version(model_id)
        with service_errors(self._registry.engine), Session(self._registry.engine) as session, session.begin():
            take_turn(session.connection(), self._registry.patience)
            found = read_models(session, ModelRow.name == name, ModelRow.version == version)
            model = model_of(found or read_models(session), model_id)
            gone = update(ModelRow).where(ModelRow.name == name, ModelRow.version == version)
            session.execute(gone.values(retired_at=datetime.now(UTC)))
            record_act(session, by, "retire", f"model {model_id}", {"view": model.view})
            announce(session, "usage")
            session.expire_all()
            return read_models(session, ModelRow.name == name, ModelRow.version == version)[0]


def view_features(view: ViewRecord, groups: Sequence[GroupRecord]) -> Iterator[ModelFeature]:
    """What a recorded view gives its readers, in its order; `groups` are those it reads."""
    by_id = {group.id: group for group in groups}
    for reading in view.readings:
        columns = by_id[reading.group].columns
        for name in columns if reading.features is None else reading.features:
            yield ModelFeature(f"{reading.prefix}{name}", columns[name], f"{reading.group}/{name}")
    for feature in view.on_demand:
        yield ModelFeature(feature["name"], feature["dtype"])


def _chosen(
    view: ViewRecord, groups: Sequence[GroupRecord], features: Sequence[str] | None
) -> tuple[ModelFeature, ...]:
    known = {feature.name: feature for feature in view_features(view, groups)}
    names = [*known] if features is None else [*features]
    for name in names:
        if name not in known:
            raise InputError(
                f"no feature {name!r}", where=view.id, remedy=choices(str(name), known, "features"), code="not-in-view"
            )
    if not names or len(set(names)) < len(names):
        raise InputError(
            "a model reads at least one feature, and each once",
            where="features",
            remedy="name each feature once, in the order in which the model takes them",
            code="model-features",
        )
    return tuple(known[name] for name in names)


def _check_name(name: str, version: int) -> None:
    fits = 0 < len(name) <= _LONGEST_NAME and name.isprintable() and name == name.strip() and not set(name) & set("/@")
    if not fits or name in (".", ".."):
        raise InputError(
            f"{name[:80]!r} cannot name a model",
            where="name",
            remedy=f"use up to {_LONGEST_NAME} printable characters without / and @",
            code="model-name",
        )
    if type(version) is not int or not 1 <= version <= _HIGHEST_VERSION:
        raise InputError(
            f"{version!r} is not a version of a model",
            where="version",
            remedy="give a whole number from 1 on",
            code="model-version",
        )


def _same(known: ModelRecord, given: ModelRecord, *, is_owner_given: bool) -> ModelRecord:
    """The model that is registered, if it is the given one.

    Raises:
        ConflictError: if it is another one, or retired.
    """
    fields = ("view", "features", "dataset", "uri", *(("owner",) if is_owner_given else ()))
    other = [field for field in fields if getattr(known, field) != getattr(given, field)]
    if other:
        raise ConflictError(
            f"another model is registered as {known.id}: {', '.join(other)} differ{'s' if len(other) == 1 else ''}",
            where=f"model {known.id}",
            remedy="register it with a new version",
            code="model-registered",
        )
    if known.retired_at is not None:
        raise retired_model(known)
    return known


def _check_dataset(session: Session, dataset: str, of_view: int, view_id: str) -> None:
    found = session.scalar(select(TrainingDatasetRow.view_id).where(TrainingDatasetRow.dataset_id == dataset))
    if found is None:
        raise NotFoundError(
            f"there is no training dataset {dataset!r} in the registry",
            remedy="give one that store.training_dataset has made, or the id of a view",
            code="not-recorded",
        )
    if found != of_view:
        raise InputError(
            f"the training dataset {dataset} is not of {view_id}",
            where="dataset",
            remedy="register the model with the view of its dataset",
            code="model-dataset",
        )


def _key_of(session: Session, view_id: str) -> int:
    name, version = name_and_version(view_id)
    key = select(FeatureViewRow.view_id).where(FeatureViewRow.name == name, FeatureViewRow.version == version)
    return session.scalars(key).one()


def _feature_ids(session: Session, groups: Sequence[GroupRecord]) -> dict[str, int]:
    """The keys of the stored features of some groups, by their origins."""
    found = select(FeatureGroupRow.name, FeatureGroupRow.version, FeatureRow.name, FeatureRow.feature_id)
    found = found.join(FeatureRow).where(FeatureGroupRow.name.in_([group.name for group in groups]))
    return {f"{group}@{version}/{name}": key for group, version, name, key in session.execute(found)}
