"""The Flink jobs of streaming groups and event logs.

Revision ID: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "stream_jobs",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("desired", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("state_fingerprint", sa.Text, nullable=False),
        sa.Column("start", JSONB, nullable=False),
        sa.Column("flink_job_id", sa.Text, nullable=False),
        sa.Column("state_path", sa.Text, nullable=False),
        sa.Column("starts", sa.BigInteger, server_default=sa.text("1"), nullable=False),
        sa.Column("message", sa.Text, server_default="", nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_stream_jobs"),
    )
