"""Which dead letters were sent to their topic again, when and by whom.

Revision ID: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "replays",
        sa.Column("replay_id", sa.BigInteger, sa.Identity(), nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("recorded_since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends", JSONB, nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("begun_by", sa.Text, nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("replay_id", name="pk_replays"),
    )
    op.create_index("ix_replays_source", "replays", ["source"])
    op.create_table(
        "replayed_letters",
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("partition", sa.BigInteger, nullable=False),
        sa.Column("offset", sa.BigInteger, nullable=False),
        sa.Column("replay_id", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition", "offset", name="pk_replayed_letters"),
        sa.ForeignKeyConstraint(
            ["replay_id"], ["replays.replay_id"], name="fk_replayed_letters_replay_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_replayed_letters_replay_id", "replayed_letters", ["replay_id"])
