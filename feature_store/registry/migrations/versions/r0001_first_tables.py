"""Entities, groups, features, views, their use, and the plans that were applied.

Revision ID: 0001
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ENUM, JSONB

revision = "0001"
down_revision = None

STATUS = ENUM("ACTIVE", "DEPRECATED", "RETIRED", name="definition_status", create_type=False)


def upgrade() -> None:
    STATUS.create(op.get_bind())
    op.create_table(
        "entity_types",
        _id("type_id"),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("join_key_column", sa.Text, nullable=False),
        sa.Column("dtype", sa.Text, nullable=False),
        _description(),
        sa.Column("definition", sa.JSON, nullable=False),
        _now("created_at"),
        _now("updated_at"),
        sa.PrimaryKeyConstraint("type_id", name="pk_entity_types"),
        sa.UniqueConstraint("name", name="uq_entity_types_name"),
    )
    op.create_table(
        "feature_groups",
        _id("group_id"),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("entity_type", sa.Text, nullable=False),
        sa.Column("batch_source_config", JSONB, nullable=False),
        sa.Column("streaming_source_config", JSONB, nullable=True),
        sa.Column("ttl_seconds", sa.BigInteger, nullable=True),
        *_recorded(),
        sa.PrimaryKeyConstraint("group_id", name="pk_feature_groups"),
        sa.UniqueConstraint("name", "version", name="uq_feature_groups_name_version"),
        sa.ForeignKeyConstraint(["entity_type"], ["entity_types.name"], name="fk_feature_groups_entity_type"),
        sa.CheckConstraint("version >= 1", name="ck_feature_groups_version"),
        sa.CheckConstraint("ttl_seconds >= 0", name="ck_feature_groups_ttl_seconds"),
    )
    op.create_index("ix_feature_groups_entity_type", "feature_groups", ["entity_type"])
    op.create_table(
        "features",
        _id("feature_id"),
        sa.Column("group_id", sa.BigInteger, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("dtype", sa.Text, nullable=False),
        sa.Column("default_value", JSONB, nullable=True),
        _description(),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("feature_id", name="pk_features"),
        sa.UniqueConstraint("group_id", "name", name="uq_features_group_id_name"),
        _reference("features", "group_id", "feature_groups", ondelete="CASCADE"),
        sa.CheckConstraint("position >= 0", name="ck_features_position"),
    )
    op.create_index("ix_features_name", "features", ["name"])
    op.create_table(
        "feature_views",
        _id("view_id"),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        *_recorded(),
        sa.PrimaryKeyConstraint("view_id", name="pk_feature_views"),
        sa.UniqueConstraint("name", "version", name="uq_feature_views_name_version"),
        sa.CheckConstraint("version >= 1", name="ck_feature_views_version"),
    )
    op.create_table(
        "feature_view_groups",
        sa.Column("view_id", sa.BigInteger, nullable=False),
        sa.Column("position", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("group_id", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("view_id", "position", name="pk_feature_view_groups"),
        _reference("feature_view_groups", "view_id", "feature_views", ondelete="CASCADE"),
        _reference("feature_view_groups", "group_id", "feature_groups"),
        sa.CheckConstraint("position >= 0", name="ck_feature_view_groups_position"),
    )
    op.create_index("ix_feature_view_groups_group_id", "feature_view_groups", ["group_id"])
    op.create_table(
        "feature_usage",
        _id("usage_id"),
        sa.Column("view_id", sa.BigInteger, nullable=True),
        sa.Column("group_id", sa.BigInteger, nullable=True),
        sa.Column("model_name", sa.Text, nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
        _now("first_used_at"),
        _now("last_used_at"),
        sa.Column("uses", sa.BigInteger, server_default=sa.text("1"), nullable=False),
        sa.PrimaryKeyConstraint("usage_id", name="pk_feature_usage"),
        sa.UniqueConstraint("view_id", "model_name", "purpose", name="uq_feature_usage_view_id_model_name_purpose"),
        sa.UniqueConstraint("group_id", "model_name", "purpose", name="uq_feature_usage_group_id_model_name_purpose"),
        _reference("feature_usage", "view_id", "feature_views", ondelete="CASCADE"),
        _reference("feature_usage", "group_id", "feature_groups", ondelete="CASCADE"),
        sa.CheckConstraint("num_nonnulls(view_id, group_id) = 1", name="ck_feature_usage_view_or_group"),
    )
    op.create_index("ix_feature_usage_model_name", "feature_usage", ["model_name"])
    op.create_table(
        "applied_plans",
        _id("plan_id"),
        sa.Column("applied_at", sa.DateTime(timezone=True), server_default=sa.func.clock_timestamp(), nullable=False),
        sa.Column("applied_by", sa.Text, nullable=False),
        sa.Column("changes", JSONB, nullable=False),
        sa.Column("state_fingerprint", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("plan_id", name="pk_applied_plans"),
    )
    op.create_index("ix_applied_plans_applied_at", "applied_plans", ["applied_at"])


def _id(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, sa.Identity(), nullable=False)


def _now(name: str) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)


def _description() -> sa.Column[str]:
    return sa.Column("description", sa.Text, server_default="", nullable=False)


def _recorded() -> list[sa.Column[Any]]:
    """What is recorded of groups and views alike."""
    return [
        sa.Column("status", STATUS, server_default="ACTIVE", nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        _description(),
        sa.Column("definition", sa.JSON, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        _now("created_at"),
        _now("updated_at"),
    ]


def _reference(table: str, column: str, target: str, ondelete: str | None = None) -> sa.ForeignKeyConstraint:
    name = f"fk_{table}_{column}"
    return sa.ForeignKeyConstraint([column], [f"{target}.{column}"], name=name, ondelete=ondelete)
