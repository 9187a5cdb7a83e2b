"""Skew reports of views.

Revision ID: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "skew_reports",
        sa.Column(
            "view_id", sa.BigInteger, sa.ForeignKey("feature_views.view_id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("document", JSONB, nullable=False),
    )
