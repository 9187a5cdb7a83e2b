"""Groups that were posted to the server and are no code.

Revision ID: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("feature_groups", sa.Column("posted", sa.Boolean, server_default=sa.false(), nullable=False))
