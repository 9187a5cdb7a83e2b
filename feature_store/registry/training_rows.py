"""What a training dataset leaves in the registry: its record, and its model as a user of what it was made of."""

from __future__ import annotations

from sqlalchemy import func, insert, literal_column
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from feature_store.registry.access.audit import announce
from feature_store.registry.records import TrainingRecord
from feature_store.registry.row_ids import row_id
from feature_store.registry.tables import FeatureUsageRow, TrainingDatasetRow


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


def note_usage(session: Session, key: str, used_id: int, model: str, purpose: str, times: int = 1) -> None:
    """Notes that a model reads a view or a group; see `Registry.record_usage`.

    Args:
        key: the column that names what is read: "view_id" or "group_id".
    """
    noted = upsert(FeatureUsageRow).values({key: used_id, "model_name": model, "purpose": purpose, "uses": times})
    noted = noted.on_conflict_do_update(
        index_elements=[key, "model_name", "purpose"],
        set_={"last_used_at": func.clock_timestamp(), "uses": FeatureUsageRow.uses + times},
    )
    if session.scalar(noted.returning(literal_column("xmax = 0"))):  # a row that was inserted has nobody's mark
        announce(session, "usage")
