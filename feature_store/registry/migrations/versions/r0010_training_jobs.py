"""Training datasets as jobs, and training datasets of single groups.

Revision ID: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.alter_column("training_datasets", "view_id", nullable=True)
    op.add_column("training_datasets", sa.Column("group_id", sa.BigInteger, nullable=True))
    op.create_foreign_key(
        "fk_training_datasets_group_id",
        "training_datasets",
        "feature_groups",
        ["group_id"],
        ["group_id"],
        ondelete="CASCADE",
    )
    op.create_index("ix_training_datasets_group_id", "training_datasets", ["group_id"])
    op.create_check_constraint(
        op.f("ck_training_datasets_view_or_group"), "training_datasets", "num_nonnulls(view_id, group_id) = 1"
    )
    op.create_table(
        "training_jobs",
        sa.Column("job_id", sa.Text, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("kind", "view", "name", "engine")),
        sa.Column("request", JSONB, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=True),
        sa.Column("state", sa.Text, server_default="QUEUED", nullable=False),
        sa.Column("progress", sa.Float, server_default=sa.text("0"), nullable=False),
        sa.Column("step", sa.Text, server_default="", nullable=False),
        sa.Column("row_count", sa.BigInteger, nullable=True),
        sa.Column("attempt", sa.BigInteger, server_default=sa.text("0"), nullable=False),
        sa.Column("launches", sa.BigInteger, server_default=sa.text("0"), nullable=False),
        sa.Column("dagster_run_id", sa.Text, nullable=True),
        sa.Column("dataset_id", sa.Text, nullable=True),
        *(sa.Column(name, JSONB, nullable=True) for name in ("error", "explanation", "result")),
        sa.Column("token_id", sa.BigInteger, nullable=True),
        sa.Column("token_name", sa.Text, nullable=True),
        sa.Column("asked_by", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.clock_timestamp(), nullable=False),
        *(
            sa.Column(name, sa.DateTime(timezone=True), nullable=True)
            for name in ("launched_at", "started_at", "heartbeat_at", "ended_at")
        ),
        sa.PrimaryKeyConstraint("job_id", name="pk_training_jobs"),
        sa.CheckConstraint(
            "state IN ('QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED')", name="ck_training_jobs_state"
        ),
        sa.CheckConstraint("progress BETWEEN 0 AND 1", name="ck_training_jobs_progress"),
    )
    op.create_index(
        "uq_training_jobs_fingerprint",
        "training_jobs",
        ["fingerprint"],
        unique=True,
        postgresql_where=sa.text("state IN ('QUEUED', 'RUNNING', 'SUCCEEDED')"),
    )
    op.create_index("ix_training_jobs_state", "training_jobs", ["state"])
    op.create_index("ix_training_jobs_created_at", "training_jobs", ["created_at"])
