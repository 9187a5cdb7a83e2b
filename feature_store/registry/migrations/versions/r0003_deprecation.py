"""What comes after a deprecated version, and when it may be retired.

Revision ID: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    for table in ("feature_groups", "feature_views"):
        op.add_column(table, sa.Column("successor", sa.Text, nullable=True))
        op.add_column(table, sa.Column("removal_date", sa.Date, nullable=True))
        op.create_check_constraint(
            op.f(f"ck_{table}_deprecation"),  # else the naming convention would prefix it again
            table,
            "status = 'ACTIVE' OR (successor IS NOT NULL AND removal_date IS NOT NULL)",
        )
