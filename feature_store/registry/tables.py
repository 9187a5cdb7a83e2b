"""The registry's tables, as SQLAlchemy sees them; `migrations/` makes them."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Enum,
    ForeignKey,
    Identity,
    Index,
    MetaData,
    Text,
    UniqueConstraint,
    false,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Json = dict[str, Any]


class Status(StrEnum):
    """Life of a version: in use, to be left behind, gone."""

    ACTIVE = "ACTIVE"
    DEPRECATED = "DEPRECATED"
    RETIRED = "RETIRED"


class Base(DeclarativeBase):
    """Common ground of all tables: constraint names that migrations can rely on, and times with a zone."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )
    # A definition is kept as `json`: `jsonb` would reorder its keys (the order of derived features is that of columns)
    # and rewrite 1e30 as an integer.
    type_annotation_map: ClassVar = {datetime: DateTime(timezone=True), str: Text, int: BigInteger, Json: JSON}


_STATUS = Enum(Status, name="definition_status")
_DEPRECATION = "status = 'ACTIVE' OR (successor IS NOT NULL AND removal_date IS NOT NULL)"


class EntityTypeRow(Base):
    """An entity: what features describe."""

    __tablename__ = "entity_types"

    type_id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    join_key_column: Mapped[str]
    dtype: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="")
    definition: Mapped[Json]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class FeatureGroupRow(Base):
    """One version of a feature group; its `definition` names the entity, which is recorded once, in entity_types."""

    __tablename__ = "feature_groups"
    __table_args__ = (
        UniqueConstraint("name", "version"),
        CheckConstraint("version >= 1", name="version"),
        CheckConstraint("ttl_seconds >= 0", name="ttl_seconds"),
        CheckConstraint(_DEPRECATION, name="deprecation"),
    )

    group_id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str]
    version: Mapped[int]
    entity_type: Mapped[str] = mapped_column(ForeignKey("entity_types.name"), index=True)
    batch_source_config: Mapped[Json] = mapped_column(JSONB)
    streaming_source_config: Mapped[Json | None] = mapped_column(JSONB(none_as_null=True))
    ttl_seconds: Mapped[int | None]
    posted: Mapped[bool] = mapped_column(server_default=false())
    status: Mapped[Status] = mapped_column(_STATUS, server_default=Status.ACTIVE)
    successor: Mapped[str | None]
    removal_date: Mapped[date | None]
    owner: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="")
    definition: Mapped[Json]
    fingerprint: Mapped[str]
    created_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class FeatureRow(Base):
    """One feature of a group version, derived ones included; `position` is its place among the columns."""

    __tablename__ = "features"
    __table_args__ = (
        UniqueConstraint("group_id", "name"),
        CheckConstraint("position >= 0", name="position"),
    )

    feature_id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    group_id: Mapped[int] = mapped_column(ForeignKey("feature_groups.group_id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(index=True)
    dtype: Mapped[str]
    default_value: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))
    description: Mapped[str] = mapped_column(server_default="")
    position: Mapped[int]
    pii: Mapped[bool] = mapped_column(server_default=false())


class FeatureViewRow(Base):
    """One version of a view; its `definition` names the groups, which are recorded once, in feature_groups."""

    __tablename__ = "feature_views"
    __table_args__ = (
        UniqueConstraint("name", "version"),
        CheckConstraint("version >= 1", name="version"),
        CheckConstraint(_DEPRECATION, name="deprecation"),
    )

    view_id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str]
    version: Mapped[int]
    status: Mapped[Status] = mapped_column(_STATUS, server_default=Status.ACTIVE)
    successor: Mapped[str | None]
    removal_date: Mapped[date | None]
    owner: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="")
    definition: Mapped[Json]
    fingerprint: Mapped[str]
    created_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class FeatureViewGroupRow(Base):
    """A group that a view reads; a position, not the group, is the key: a view may read a group in two roles."""

    __tablename__ = "feature_view_groups"
    __table_args__ = (CheckConstraint("position >= 0", name="position"),)

    view_id: Mapped[int] = mapped_column(ForeignKey("feature_views.view_id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    group_id: Mapped[int] = mapped_column(ForeignKey("feature_groups.group_id"), index=True)


class FeatureUsageRow(Base):
    """A model that reads a view (or a single group) for a purpose: when first, when last, how many times it said so."""

    __tablename__ = "feature_usage"
    __table_args__ = (
        UniqueConstraint("view_id", "model_name", "purpose"),
        UniqueConstraint("group_id", "model_name", "purpose"),
        CheckConstraint("num_nonnulls(view_id, group_id) = 1", name="view_or_group"),
        Index(None, "model_name"),
    )

    usage_id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    view_id: Mapped[int | None] = mapped_column(ForeignKey("feature_views.view_id", ondelete="CASCADE"))
    group_id: Mapped[int | None] = mapped_column(ForeignKey("feature_groups.group_id", ondelete="CASCADE"))
    model_name: Mapped[str]
    purpose: Mapped[str]
    first_used_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_used_at: Mapped[datetime] = mapped_column(server_default=func.now())
    uses: Mapped[int] = mapped_column(server_default=text("1"))


class FeatureLineageRow(Base):
    """A source's column that a feature is computed from."""

    __tablename__ = "feature_lineage"
    __table_args__ = (Index(None, "source", "column_name"),)

    feature_id: Mapped[int] = mapped_column(ForeignKey("features.feature_id", ondelete="CASCADE"), primary_key=True)
    source: Mapped[str] = mapped_column(primary_key=True)
    column_name: Mapped[str] = mapped_column(primary_key=True)


class OnDemandLineageRow(Base):
    """A stored feature that an on-demand feature of a view is computed from."""

    __tablename__ = "on_demand_lineage"

    view_id: Mapped[int] = mapped_column(ForeignKey("feature_views.view_id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    feature_id: Mapped[int] = mapped_column(
        ForeignKey("features.feature_id", ondelete="CASCADE"), primary_key=True, index=True
    )


class TrainingDatasetRow(Base):
    """A training dataset that was made: of which view (or single group), from which snapshots, for which model."""

    __tablename__ = "training_datasets"
    __table_args__ = (CheckConstraint("num_nonnulls(view_id, group_id) = 1", name="view_or_group"),)

    dataset_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    view_id: Mapped[int | None] = mapped_column(ForeignKey("feature_views.view_id", ondelete="CASCADE"), index=True)
    group_id: Mapped[int | None] = mapped_column(ForeignKey("feature_groups.group_id", ondelete="CASCADE"), index=True)
    model_name: Mapped[str | None]
    row_count: Mapped[int]
    snapshots: Mapped[dict[str, int | None]] = mapped_column(JSONB)
    labels_hash: Mapped[str]
    engine: Mapped[str]
    known_by: Mapped[str | None]
    path: Mapped[str]
    created_at: Mapped[datetime]


class SkewReportRow(Base):
    """A skew report of a view, as JSON (`skew.document`)."""

    __tablename__ = "skew_reports"

    view_id: Mapped[int] = mapped_column(ForeignKey("feature_views.view_id", ondelete="CASCADE"), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(primary_key=True)
    document: Mapped[dict[str, Any]] = mapped_column(JSONB)


class ModelRow(Base):
    """A version of a model, with the view that it reads; the table `model_features` has what it reads of it."""

    __tablename__ = "models"
    __table_args__ = (UniqueConstraint("name", "version"), CheckConstraint("version >= 1", name="version"))

    model_id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str]
    version: Mapped[int]
    view_id: Mapped[int] = mapped_column(ForeignKey("feature_views.view_id"), index=True)
    dataset_id: Mapped[str | None] = mapped_column(ForeignKey("training_datasets.dataset_id"))
    owner: Mapped[str]
    uri: Mapped[str] = mapped_column(server_default="")
    created_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    retired_at: Mapped[datetime | None]


class ModelFeatureRow(Base):
    """A feature that a model reads; `position` is its place in the model's order. An on-demand feature is no
    row of `features`."""

    __tablename__ = "model_features"
    __table_args__ = (UniqueConstraint("model_id", "name"), CheckConstraint("position >= 0", name="position"))

    model_id: Mapped[int] = mapped_column(ForeignKey("models.model_id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str]
    dtype: Mapped[str]
    feature_id: Mapped[int | None] = mapped_column(ForeignKey("features.feature_id"), index=True)


class AppliedPlanRow(Base):
    """One `apply` that changed something: what, by whom, and the fingerprint of the registry after it."""

    __tablename__ = "applied_plans"

    plan_id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    # now() is when the transaction began, perhaps long before its turn came
    applied_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp(), index=True)
    applied_by: Mapped[str]
    changes: Mapped[list[Any]] = mapped_column(JSONB)
    state_fingerprint: Mapped[str]


class StreamJobRow(Base):
    """A Flink job that is to run, or was stopped: what it was started from and where its state is."""

    __tablename__ = "stream_jobs"

    name: Mapped[str] = mapped_column(primary_key=True)
    desired: Mapped[str]
    fingerprint: Mapped[str]
    state_fingerprint: Mapped[str]
    start: Mapped[Json] = mapped_column(JSONB)
    flink_job_id: Mapped[str]
    state_path: Mapped[str]
    starts: Mapped[int] = mapped_column(server_default=text("1"))
    message: Mapped[str] = mapped_column(server_default="")
    texts: Mapped[Json] = mapped_column(JSONB, server_default="{}")
    previous: Mapped[Json] = mapped_column(JSONB, server_default="{}")
    refused: Mapped[str] = mapped_column(server_default="")
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ReplayRow(Base):
    """Dead letters of a source that were sent to their topic again together; `done_at` when Kafka has all of them."""

    __tablename__ = "replays"

    replay_id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    source: Mapped[str] = mapped_column(index=True)
    reason: Mapped[str]
    recorded_since: Mapped[datetime]
    ends: Mapped[Json] = mapped_column(JSONB)
    begun_at: Mapped[datetime] = mapped_column(server_default=func.now())
    begun_by: Mapped[str]
    done_at: Mapped[datetime | None]


class ReplayedLetterRow(Base):
    """A message that was sent again, by its place in Kafka: it is sent once, whatever is asked for."""

    __tablename__ = "replayed_letters"

    topic: Mapped[str] = mapped_column(primary_key=True)
    partition: Mapped[int] = mapped_column(primary_key=True)
    offset: Mapped[int] = mapped_column(primary_key=True)
    replay_id: Mapped[int] = mapped_column(ForeignKey("replays.replay_id", ondelete="CASCADE"), index=True)


class TokenRow(Base):
    """A bearer token of a team or a service. The secret itself is kept nowhere, only its hash.

    A name is free again once its token is revoked.
    """

    __tablename__ = "tokens"
    __table_args__ = (
        CheckConstraint("secret_hash ~ '^[0-9a-f]{64}$'", name="secret_hash"),
        Index("uq_tokens_name", "name", unique=True, postgresql_where=text("revoked_at IS NULL")),
    )

    token_id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str]
    principal: Mapped[str]
    model_name: Mapped[str | None]
    secret_hash: Mapped[str] = mapped_column(unique=True)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[datetime]
    created_by: Mapped[str]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class GrantRow(Base):
    """What a team or a service may do with all versions of a group or a view; one that is taken back is deleted."""

    __tablename__ = "grants"
    __table_args__ = (
        CheckConstraint("kind IN ('group', 'view')", name="kind"),
        CheckConstraint("scope IN ('read', 'write', 'admin', 'pii')", name="scope"),
    )

    principal: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    scope: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime]
    created_by: Mapped[str]


class AuditRow(Base):
    """Who did what to what: changes of definitions, tokens and grants."""

    __tablename__ = "audit_log"

    entry_id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    # now() is when the transaction began, perhaps long before its turn came
    happened_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp(), index=True)
    done_by: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str]
    details: Mapped[Json] = mapped_column(JSONB, server_default="{}")
