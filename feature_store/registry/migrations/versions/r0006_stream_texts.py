"""What Flink was given for a job, and the job that it replaced: a job that does not come up is taken back.

Revision ID: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("stream_jobs", sa.Column("texts", JSONB, server_default="{}", nullable=False))
    op.add_column("stream_jobs", sa.Column("previous", JSONB, server_default="{}", nullable=False))
    op.add_column("stream_jobs", sa.Column("refused", sa.Text, server_default="", nullable=False))
