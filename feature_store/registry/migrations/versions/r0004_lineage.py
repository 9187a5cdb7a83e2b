"""Where features come from, and what was trained on them.

Revision ID: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "feature_lineage",
        sa.Column("feature_id", sa.BigInteger, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("column_name", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("feature_id", "source", "column_name", name="pk_feature_lineage"),
        _reference("feature_lineage", "feature_id", "features"),
    )
    op.create_index("ix_feature_lineage_source_column_name", "feature_lineage", ["source", "column_name"])
    op.create_table(
        "on_demand_lineage",
        sa.Column("view_id", sa.BigInteger, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("feature_id", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("view_id", "name", "feature_id", name="pk_on_demand_lineage"),
        _reference("on_demand_lineage", "view_id", "feature_views"),
        _reference("on_demand_lineage", "feature_id", "features"),
    )
    op.create_index("ix_on_demand_lineage_feature_id", "on_demand_lineage", ["feature_id"])
    op.create_table(
        "training_datasets",
        sa.Column("dataset_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("view_id", sa.BigInteger, nullable=False),
        sa.Column("model_name", sa.Text, nullable=True),
        sa.Column("row_count", sa.BigInteger, nullable=False),
        sa.Column("snapshots", JSONB, nullable=False),
        sa.Column("labels_hash", sa.Text, nullable=False),
        sa.Column("engine", sa.Text, nullable=False),
        sa.Column("known_by", sa.Text, nullable=True),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("dataset_id", name="pk_training_datasets"),
        _reference("training_datasets", "view_id", "feature_views"),
    )
    op.create_index("ix_training_datasets_view_id", "training_datasets", ["view_id"])


def _reference(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    name = f"fk_{table}_{column}"
    return sa.ForeignKeyConstraint([column], [f"{target}.{column}"], name=name, ondelete="CASCADE")
