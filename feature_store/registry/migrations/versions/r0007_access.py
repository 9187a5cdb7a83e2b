"""Tokens, grants, the audit log, and which features are personal data.

Revision ID: 0007
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("features", sa.Column("pii", sa.Boolean, server_default=sa.false(), nullable=False))
    op.create_table(
        "tokens",
        sa.Column("token_id", sa.BigInteger, sa.Identity(), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("principal", sa.Text, nullable=False),
        sa.Column("model_name", sa.Text, nullable=True),
        sa.Column("secret_hash", sa.Text, nullable=False),
        sa.Column("scopes", ARRAY(sa.Text), nullable=False),
        *_created(),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("token_id", name="pk_tokens"),
        sa.UniqueConstraint("secret_hash", name="uq_tokens_secret_hash"),
        sa.CheckConstraint("secret_hash ~ '^[0-9a-f]{64}$'", name="ck_tokens_secret_hash"),
    )
    op.create_index("uq_tokens_name", "tokens", ["name"], unique=True, postgresql_where=sa.text("revoked_at IS NULL"))
    op.create_table(
        "grants",
        sa.Column("principal", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        *_created(),
        sa.PrimaryKeyConstraint("principal", "kind", "name", "scope", name="pk_grants"),
        sa.CheckConstraint("kind IN ('group', 'view')", name="ck_grants_kind"),
        sa.CheckConstraint("scope IN ('read', 'write', 'admin', 'pii')", name="ck_grants_scope"),
    )
    op.create_table(
        "audit_log",
        sa.Column("entry_id", sa.BigInteger, sa.Identity(), nullable=False),
        sa.Column("happened_at", sa.DateTime(timezone=True), server_default=sa.func.clock_timestamp(), nullable=False),
        sa.Column("done_by", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("details", JSONB, server_default="{}", nullable=False),
        sa.PrimaryKeyConstraint("entry_id", name="pk_audit_log"),
    )
    op.create_index("ix_audit_log_happened_at", "audit_log", ["happened_at"])


def _created() -> list[sa.Column[Any]]:
    return [
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
    ]
