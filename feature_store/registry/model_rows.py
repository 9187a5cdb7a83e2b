"""Registered models to rows and back, inside a session of the caller."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import ColumnElement, insert, select
from sqlalchemy.orm import Session

from feature_store.registry.model_records import ModelFeature, ModelRecord
from feature_store.registry.records import Kind
from feature_store.registry.tables import (
    FeatureGroupRow,
    FeatureRow,
    FeatureViewGroupRow,
    FeatureViewRow,
    ModelFeatureRow,
    ModelRow,
)


def read_models(session: Session, *where: ColumnElement[bool]) -> tuple[ModelRecord, ...]:
    """The models that a condition on `ModelRow` selects, by name and version."""
    features: dict[int, list[ModelFeature]] = {}
    read = (
        select(ModelFeatureRow, FeatureGroupRow.name, FeatureGroupRow.version, FeatureRow.name)
        .join(ModelRow, ModelFeatureRow.model_id == ModelRow.model_id)
        .outerjoin(FeatureRow, ModelFeatureRow.feature_id == FeatureRow.feature_id)
        .outerjoin(FeatureGroupRow, FeatureRow.group_id == FeatureGroupRow.group_id)
        .where(*where)
        .order_by(ModelFeatureRow.model_id, ModelFeatureRow.position)
    )
    for row, group, version, feature in session.execute(read):
        origin = None if feature is None else f"{group}@{version}/{feature}"
        features.setdefault(row.model_id, []).append(ModelFeature(row.name, row.dtype, origin))
    found = (
        select(ModelRow, FeatureViewRow.name, FeatureViewRow.version)
        .join(FeatureViewRow, ModelRow.view_id == FeatureViewRow.view_id)
        .where(*where)
        .order_by(ModelRow.name, ModelRow.version)
    )
    return tuple(
        ModelRecord(
            name=row.name,
            version=row.version,
            view=f"{view}@{version}",
            features=tuple(features.get(row.model_id, ())),
            owner=row.owner,
            dataset=row.dataset_id,
            uri=row.uri,
            created_by=row.created_by,
            created_at=row.created_at,
            retired_at=row.retired_at,
        )
        for row, view, version in session.execute(found)
    )


def models_reading(session: Session, kind: Kind, key: int) -> tuple[ModelRecord, ...]:
    """The models that read a view, or a group through any view, and are not retired; `key` is that of its row."""
    if kind == "view":
        reading = ModelRow.view_id == key
    else:
        views = select(FeatureViewGroupRow.view_id).where(FeatureViewGroupRow.group_id == key)
        reading = ModelRow.view_id.in_(views)
    return read_models(session, reading, ModelRow.retired_at.is_(None))


def write_model(session: Session, model: ModelRecord, view_id: int, feature_ids: Mapping[str, int]) -> None:
    """Records a model, which is new.

    Args:
        view_id: the key of its view.
        feature_ids: the keys of stored features by their origins.
    """
    row = {
        "name": model.name,
        "version": model.version,
        "view_id": view_id,
        "dataset_id": model.dataset,
        "owner": model.owner,
        "uri": model.uri,
        "created_by": model.created_by,
    }
    model_id = session.scalars(insert(ModelRow).values(row).returning(ModelRow.model_id)).one()
    features = [
        {
            "model_id": model_id,
            "position": position,
            "name": feature.name,
            "dtype": feature.dtype,
            "feature_id": None if feature.origin is None else feature_ids[feature.origin],
        }
        for position, feature in enumerate(model.features)
    ]
    session.execute(insert(ModelFeatureRow), features, execution_options={"render_nulls": True})
