"""Models that are registered with the view and the features that they read.

Revision ID: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "models",
        sa.Column("model_id", sa.BigInteger, sa.Identity(), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("view_id", sa.BigInteger, nullable=False),
        sa.Column("dataset_id", sa.Text, nullable=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("uri", sa.Text, server_default="", nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("model_id", name="pk_models"),
        sa.UniqueConstraint("name", "version", name="uq_models_name_version"),
        sa.CheckConstraint("version >= 1", name="ck_models_version"),
        sa.ForeignKeyConstraint(["view_id"], ["feature_views.view_id"], name="fk_models_view_id"),
        sa.ForeignKeyConstraint(["dataset_id"], ["training_datasets.dataset_id"], name="fk_models_dataset_id"),
    )
    op.create_index("ix_models_view_id", "models", ["view_id"])
    op.create_table(
        "model_features",
        sa.Column("model_id", sa.BigInteger, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("dtype", sa.Text, nullable=False),
        sa.Column("feature_id", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("model_id", "position", name="pk_model_features"),
        sa.UniqueConstraint("model_id", "name", name="uq_model_features_model_id_name"),
        sa.CheckConstraint("position >= 0", name="ck_model_features_position"),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.model_id"], name="fk_model_features_model_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["feature_id"], ["features.feature_id"], name="fk_model_features_feature_id"),
    )
    op.create_index("ix_model_features_feature_id", "model_features", ["feature_id"])
