"""Lineage as recorded: source column -> feature -> on-demand feature, view -> training set -> model, both ways."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, func, insert, select
from sqlalchemy.orm import Session

from feature_store.errors import NotFoundError
from feature_store.registry.model_records import ModelRecord
from feature_store.registry.model_rows import read_models
from feature_store.registry.records import GroupRecord, Origins, TrainingRecord, ViewRecord, name_and_version
from feature_store.registry.tables import (
    FeatureGroupRow,
    FeatureLineageRow,
    FeatureRow,
    FeatureUsageRow,
    FeatureViewGroupRow,
    FeatureViewRow,
    ModelFeatureRow,
    ModelRow,
    OnDemandLineageRow,
    TrainingDatasetRow,
)


@dataclass(frozen=True)
class Lineage:
    """What a feature, group, view or source column comes from, and what comes from it.

    Attributes:
        subject: what was asked for.
        columns: "orders.amount": columns of sources; upstream of everything.
        features: "user_orders@1/user_order_count_30d": stored features.
        on_demand: "ranking@1/user_age": on-demand features that are computed from those.
        views: that read them.
        training: datasets made of those views, the latest first.
        models: that use those, by name.
        registered: the versions of models, "ranker@3", that are registered with some of those features.
    """

    subject: str
    columns: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    on_demand: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    training: tuple[TrainingRecord, ...] = ()
    models: tuple[str, ...] = ()
    registered: tuple[str, ...] = ()


def write_lineage(session: Session, groups: Sequence[GroupRecord], views: Sequence[ViewRecord]) -> None:
    """Records where the features of groups and the on-demand features of views come from; both are recorded already."""
    read = {name for view in views for name in view.groups}
    features = _feature_ids(session, {group.id for group in groups} | read)
    known = [features[group.id, feature.name] for group in groups for feature in group.features]
    session.execute(delete(FeatureLineageRow).where(FeatureLineageRow.feature_id.in_(known)))
    origins = [
        {"feature_id": features[group.id, feature], "source": source, "column_name": column}
        for group in groups
        for feature, found in group.origins.items()
        for source, column in found
    ]
    if origins:
        session.execute(insert(FeatureLineageRow), origins)
    view_ids = {f"{name}@{version}": key for key, name, version in session.execute(_VIEWS)}
    changed = [view_ids[view.id] for view in views]
    session.execute(delete(OnDemandLineageRow).where(OnDemandLineageRow.view_id.in_(changed)))
    inputs = [
        {"view_id": view_ids[view.id], "name": name, "feature_id": features[origin]}
        for view in views
        for name, found in view.origins.items()
        for origin in found
    ]
    if inputs:
        session.execute(insert(OnDemandLineageRow), inputs)


def feature_origins(session: Session, *where: ColumnElement[bool]) -> dict[int, Origins]:
    """The source columns of each feature, by the keys of the groups that a condition on `FeatureGroupRow` selects."""
    found = (
        select(FeatureRow.group_id, FeatureRow.name, FeatureLineageRow.source, FeatureLineageRow.column_name)
        .join(FeatureRow, FeatureLineageRow.feature_id == FeatureRow.feature_id)
        .join(FeatureGroupRow, FeatureRow.group_id == FeatureGroupRow.group_id)
        .where(*where)
    )
    return _collected((key, name, (source, column)) for key, name, source, column in session.execute(found))


def on_demand_origins(session: Session, *where: ColumnElement[bool]) -> dict[int, Origins]:
    """The stored features of each on-demand feature, by the keys of the views that a condition selects."""
    found = (
        select(
            OnDemandLineageRow.view_id,
            OnDemandLineageRow.name,
            FeatureGroupRow.name,
            FeatureGroupRow.version,
            FeatureRow.name,
        )
        .join(FeatureViewRow, OnDemandLineageRow.view_id == FeatureViewRow.view_id)
        .join(FeatureRow, OnDemandLineageRow.feature_id == FeatureRow.feature_id)
        .join(FeatureGroupRow, FeatureRow.group_id == FeatureGroupRow.group_id)
        .where(*where)
    )
    rows = session.execute(found)
    return _collected((key, name, (f"{group}@{version}", feature)) for key, name, group, version, feature in rows)


def _collected(found: Iterable[tuple[int, str, tuple[str, str]]]) -> dict[int, Origins]:
    collected: dict[int, dict[str, list[tuple[str, str]]]] = {}
    for key, name, origin in found:
        collected.setdefault(key, {}).setdefault(name, []).append(origin)
    return {key: {name: tuple(sorted(each)) for name, each in names.items()} for key, names in collected.items()}


def read_lineage(session: Session, subject: str) -> Lineage:
    """The lineage of "user_orders@1/user_order_count_30d", "ranking@1/user_age", "user_orders@1", "ranking@1",
    "orders.amount", "orders", or of a registered model, "ranker@3", if neither a group nor a view has this id.

    Raises:
        NotFoundError: if nothing of this name is recorded.
    """
    if (model := _model(session, subject)) is not None:
        return _lineage_of_model(session, model)
    features, views = _start(session, subject)
    groups = select(FeatureRow.group_id).where(FeatureRow.feature_id.in_(features))
    if not views:
        reading = select(FeatureViewGroupRow.view_id).where(FeatureViewGroupRow.group_id.in_(groups))
        views = list(session.scalars(reading.distinct()))
    of_views, of_groups = TrainingDatasetRow.view_id.in_(views), TrainingDatasetRow.group_id.in_(groups)
    training = read_training(session, of_views | of_groups)
    of_view = FeatureUsageRow.view_id.in_(views)
    users = select(FeatureUsageRow.model_name).where(of_view | FeatureUsageRow.group_id.in_(groups))
    models = {*session.scalars(users), *(made.model for made in training if made.model)}
    return Lineage(
        subject=subject,
        columns=_columns(session, subject, features),
        features=_features(session, features),
        on_demand=_on_demand(session, subject, features, views),
        views=tuple(sorted(f"{row.name}@{row.version}" for row in session.execute(_VIEWS) if row.view_id in views)),
        training=training,
        models=tuple(sorted(models)),
        registered=_registered(session, subject, features, views),
    )


def _model(session: Session, subject: str) -> ModelRecord | None:
    """The registered model of this id; None if there is none, or if a group or a view has the id."""
    if "@" not in subject or "/" in subject:
        return None
    name, version = name_and_version(subject)
    for table in (FeatureGroupRow, FeatureViewRow):
        if session.scalar(select(table.name).where(table.name == name, table.version == version)) is not None:
            return None
    return next(iter(read_models(session, ModelRow.name == name, ModelRow.version == version)), None)


def _lineage_of_model(session: Session, model: ModelRecord) -> Lineage:
    """What a model reads, and what that comes from; the training dataset is the one that it was registered with."""
    of_model = (ModelRow.name == model.name, ModelRow.version == model.version)
    read = select(ModelFeatureRow.feature_id).join(ModelRow).where(*of_model, ModelFeatureRow.feature_id.is_not(None))
    computed = (
        select(OnDemandLineageRow.feature_id)
        .join(ModelRow, OnDemandLineageRow.view_id == ModelRow.view_id)
        .join(ModelFeatureRow, ModelFeatureRow.model_id == ModelRow.model_id)
        .where(*of_model, OnDemandLineageRow.name == ModelFeatureRow.name)
    )
    features = [*{*session.scalars(read), *session.scalars(computed)}]
    return Lineage(
        subject=model.id,
        columns=_columns(session, model.id, features),
        features=_features(session, features),
        on_demand=tuple(sorted(f"{model.view}/{each.name}" for each in model.features if each.origin is None)),
        views=(model.view,),
        training=read_training(session, TrainingDatasetRow.dataset_id == model.dataset),
        models=(model.name,),
        registered=(model.id,),
    )


def _registered(session: Session, subject: str, features: Collection[int], views: Collection[int]) -> tuple[str, ...]:
    """The models that are registered with some of these views and read some of these features, or what is computed of
    them; of an on-demand feature, those that read it."""
    reads: ColumnElement[bool] = ModelFeatureRow.feature_id.in_(features) | OnDemandLineageRow.feature_id.in_(features)
    if subject in _on_demand(session, subject, features, views):
        reads = ModelFeatureRow.name == subject.partition("/")[2]
    found = (
        select(ModelRow.name, ModelRow.version)
        .join(ModelFeatureRow, ModelFeatureRow.model_id == ModelRow.model_id)
        .outerjoin(
            OnDemandLineageRow,
            (OnDemandLineageRow.view_id == ModelRow.view_id) & (OnDemandLineageRow.name == ModelFeatureRow.name),
        )
        .where(ModelRow.view_id.in_(views), reads)
        .distinct()
        .order_by(ModelRow.name, ModelRow.version)
    )
    return tuple(f"{name}@{version}" for name, version in session.execute(found))


def read_training(session: Session, *where: ColumnElement[bool]) -> tuple[TrainingRecord, ...]:
    """The training datasets that a condition on `TrainingDatasetRow` selects, the latest first."""
    found = (
        select(
            TrainingDatasetRow,
            func.coalesce(FeatureViewRow.name, FeatureGroupRow.name),
            func.coalesce(FeatureViewRow.version, FeatureGroupRow.version),
        )
        .outerjoin(FeatureViewRow)
        .outerjoin(FeatureGroupRow)
        .where(*where)
        .order_by(TrainingDatasetRow.created_at.desc(), TrainingDatasetRow.dataset_id)
    )
    return tuple(
        TrainingRecord(
            id=row.dataset_id,
            name=row.name,
            view=f"{name}@{version}",
            model=row.model_name,
            row_count=row.row_count,
            snapshots=row.snapshots,
            labels_hash=row.labels_hash,
            engine=row.engine,
            known_by=row.known_by,
            path=row.path,
            created_at=row.created_at,
            kind="group" if row.view_id is None else "view",
        )
        for row, name, version in session.execute(found)
    )


_VIEWS = select(FeatureViewRow.view_id, FeatureViewRow.name, FeatureViewRow.version)


def _feature_ids(session: Session, groups: Collection[str]) -> dict[tuple[str, str], int]:
    """The keys of the features of some groups, by group id and name."""
    found = select(FeatureGroupRow.name, FeatureGroupRow.version, FeatureRow.name, FeatureRow.feature_id).join(
        FeatureRow
    )
    ids = {(f"{group}@{version}", name): key for group, version, name, key in session.execute(found)}
    return {key: number for key, number in ids.items() if key[0] in groups}


def _start(session: Session, subject: str) -> tuple[list[int], list[int]]:
    """The keys of the stored features a lineage goes through, and of its views if the subject says which."""
    if "@" not in subject:
        found = session.scalars(select(FeatureLineageRow.feature_id).where(_of_source(subject)).distinct())
        return _known(list(found), subject), []
    definition, _, feature = subject.partition("/")
    name, version = name_and_version(definition)
    of_group = (FeatureGroupRow.name == name, FeatureGroupRow.version == version)
    stored = select(FeatureRow.feature_id).join(FeatureGroupRow).where(*of_group)
    if features := list(session.scalars(stored.where(FeatureRow.name == feature) if feature else stored)):
        return features, []
    view = session.scalar(
        select(FeatureViewRow.view_id).where(FeatureViewRow.name == name, FeatureViewRow.version == version)
    )
    if view is None:
        return _known([], subject), []
    if feature:
        inputs = select(OnDemandLineageRow.feature_id)
        of_feature = (OnDemandLineageRow.view_id == view, OnDemandLineageRow.name == feature)
        return _known(list(session.scalars(inputs.where(*of_feature))), subject), [view]
    read = select(FeatureViewGroupRow.group_id).where(FeatureViewGroupRow.view_id == view)
    return list(session.scalars(select(FeatureRow.feature_id).where(FeatureRow.group_id.in_(read)))), [view]


def _known(features: list[int], subject: str) -> list[int]:
    if not features:
        raise NotFoundError(
            f"no lineage of {subject!r} is recorded",
            remedy="write group@version/feature, group@version, view@version, source or source.column, as in ./fs get",
            code="not-recorded",
        )
    return features


def _of_source(subject: str) -> ColumnElement[bool]:
    source, _, column = subject.partition(".")
    of_source = FeatureLineageRow.source == source
    return of_source & (FeatureLineageRow.column_name == column) if column else of_source


def _columns(session: Session, subject: str, features: Iterable[int]) -> tuple[str, ...]:
    wanted = FeatureLineageRow.feature_id.in_(features) if "@" in subject else _of_source(subject)
    found = session.execute(select(FeatureLineageRow.source, FeatureLineageRow.column_name).where(wanted).distinct())
    return tuple(sorted(f"{source}.{column}" for source, column in found))


def _features(session: Session, features: Iterable[int]) -> tuple[str, ...]:
    found = (
        select(FeatureGroupRow.name, FeatureGroupRow.version, FeatureRow.name)
        .join(FeatureRow)
        .where(FeatureRow.feature_id.in_(features))
        .order_by(FeatureGroupRow.name, FeatureGroupRow.version, FeatureRow.position)
    )
    return tuple(f"{group}@{version}/{name}" for group, version, name in session.execute(found))


def _on_demand(session: Session, subject: str, features: Iterable[int], views: Iterable[int]) -> tuple[str, ...]:
    found = (
        select(FeatureViewRow.name, FeatureViewRow.version, OnDemandLineageRow.name)
        .join(OnDemandLineageRow)
        .where(OnDemandLineageRow.view_id.in_(views), OnDemandLineageRow.feature_id.in_(features))
        .distinct()
    )
    names = sorted(f"{view}@{version}/{name}" for view, version, name in session.execute(found))
    return (subject,) if subject in names else tuple(names)
