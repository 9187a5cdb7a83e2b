"""What a training dataset leaves in the registry: its record, and its model as a user of what it was made of."""

from __future__ import annotations

from sqlalchemy import insert
from sqlalchemy.orm import Session

from feature_store.registry.records import TrainingRecord
from feature_store.registry.row_ids import row_id
from feature_store.registry.rows import note_usage
from feature_store.registry.tables import TrainingDatasetRow


def write_training(session: Session, made: TrainingRecord) -> None:
    """Records a training dataset; its model, if it has one, as a user of its view or group.

    Raises:
        NotFoundError: if the view or group is not recorded.
    """
    key = "view_id" if made.kind == "view" else "group_id"
    used_id = row_id(session, made.view, made.kind)
    values = {name: value for name, value in vars(made).items() if name not in ("id", "view", "model", "kind")}
    row = {**values, "dataset_id": made.id, key: used_id, "model_name": made.model}
    session.execute(insert(TrainingDatasetRow).values(row))
    if made.model is not None:
        note_usage(session, key, used_id, made.model, "training")
