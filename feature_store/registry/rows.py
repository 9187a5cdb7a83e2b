"""Records to rows and back: the SQL of the registry, in bulk, inside a session of the caller."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, delete, func, insert, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from feature_store.registry.access.audit import announce
from feature_store.registry.lineage import feature_origins, on_demand_origins
from feature_store.registry.records import (
    EntityRecord,
    FeatureRecord,
    GroupRecord,
    RegistryState,
    UsageRecord,
    ViewRecord,
)
from feature_store.registry.tables import (
    EntityTypeRow,
    FeatureGroupRow,
    FeatureRow,
    FeatureUsageRow,
    FeatureViewGroupRow,
    FeatureViewRow,
)


def read_state(session: Session) -> RegistryState:
    """Everything that is recorded."""
    return RegistryState(read_entities(session), read_groups(session), read_views(session))


def read_entities(session: Session) -> tuple[EntityRecord, ...]:
    """All entities, by name."""
    rows = session.scalars(select(EntityTypeRow).order_by(EntityTypeRow.name))
    return tuple(
        EntityRecord(row.name, row.join_key_column, row.dtype, row.description, row.definition) for row in rows
    )


def read_groups(session: Session, *where: ColumnElement[bool]) -> tuple[GroupRecord, ...]:
    """The groups that a condition on `FeatureGroupRow` selects, by name and version."""
    features: dict[int, list[FeatureRecord]] = {}
    feature = FeatureRow
    columns = (
        feature.group_id,
        feature.name,
        feature.dtype,
        feature.default_value,
        feature.description,
        feature.pii,
    )
    read = select(*columns).join(FeatureGroupRow, feature.group_id == FeatureGroupRow.group_id).where(*where)
    for row in session.execute(read.order_by(feature.group_id, feature.position)):
        # jsonb gives the float 1e30 back as an integer
        default = (
            float(row.default_value) if row.dtype == "FLOAT" and row.default_value is not None else row.default_value
        )
        record = FeatureRecord(row.name, row.dtype, default, row.description, row.pii)
        features.setdefault(row.group_id, []).append(record)
    origins = feature_origins(session, *where)
    groups = session.scalars(
        select(FeatureGroupRow).where(*where).order_by(FeatureGroupRow.name, FeatureGroupRow.version)
    )
    return tuple(
        GroupRecord(
            name=row.name,
            version=row.version,
            entity=row.entity_type,
            owner=row.owner,
            description=row.description,
            ttl_seconds=row.ttl_seconds,
            definition=row.definition,
            features=tuple(features.get(row.group_id, ())),
            fingerprint=row.fingerprint,
            status=row.status,
            posted=row.posted,
            origins=origins.get(row.group_id, {}),
            created_by=row.created_by,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )
        for row in groups
    )


def read_views(session: Session, *where: ColumnElement[bool]) -> tuple[ViewRecord, ...]:
    """The views that a condition on `FeatureViewRow` selects, by name and version."""
    groups: dict[int, list[str]] = {}
    read = (
        select(FeatureViewGroupRow.view_id, FeatureGroupRow.name, FeatureGroupRow.version)
        .join(FeatureGroupRow, FeatureViewGroupRow.group_id == FeatureGroupRow.group_id)
        .join(FeatureViewRow, FeatureViewGroupRow.view_id == FeatureViewRow.view_id)
        .where(*where)
        .order_by(FeatureViewGroupRow.view_id, FeatureViewGroupRow.position)
    )
    for view_id, name, version in session.execute(read):
        groups.setdefault(view_id, []).append(f"{name}@{version}")
    origins = on_demand_origins(session, *where)
    views = session.scalars(select(FeatureViewRow).where(*where).order_by(FeatureViewRow.name, FeatureViewRow.version))
    return tuple(
        ViewRecord(
            name=row.name,
            version=row.version,
            groups=tuple(groups.get(row.view_id, ())),
            owner=row.owner,
            description=row.description,
            definition=row.definition,
            fingerprint=row.fingerprint,
            status=row.status,
            origins=origins.get(row.view_id, {}),
            created_by=row.created_by,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )
        for row in views
    )


def read_usage(session: Session, *where: ColumnElement[bool]) -> tuple[UsageRecord, ...]:
    """What models said they read, as a condition on `FeatureUsageRow` selects, the latest first."""
    found = (
        select(
            FeatureUsageRow, FeatureGroupRow.name, FeatureGroupRow.version, FeatureViewRow.name, FeatureViewRow.version
        )
        .outerjoin(FeatureGroupRow, FeatureUsageRow.group_id == FeatureGroupRow.group_id)
        .outerjoin(FeatureViewRow, FeatureUsageRow.view_id == FeatureViewRow.view_id)
        .where(*where)
        .order_by(FeatureUsageRow.last_used_at.desc())
    )
    return tuple(
        UsageRecord(
            used=f"{view}@{view_version}" if group is None else f"{group}@{group_version}",
            kind="view" if group is None else "group",
            model=row.model_name,
            purpose=row.purpose,
            first_used_at=row.first_used_at,
            last_used_at=row.last_used_at,
            uses=row.uses,
        )
        for row, group, group_version, view, view_version in session.execute(found)
    )


def note_usage(session: Session, key: str, used_id: int, model: str, purpose: str, times: int = 1) -> None:
    """Notes that a model reads a view or a group; `key` is "view_id" or "group_id", `used_id` the value of it."""
    noted = upsert(FeatureUsageRow).values({key: used_id, "model_name": model, "purpose": purpose, "uses": times})
    noted = noted.on_conflict_do_update(
        index_elements=[key, "model_name", "purpose"],
        set_={"last_used_at": func.clock_timestamp(), "uses": FeatureUsageRow.uses + times},
    )
    if session.scalar(noted.returning(literal_column("xmax = 0"))):  # a row that was inserted has nobody's mark
        announce(session, "usage")


def write_entities(session: Session, records: Sequence[EntityRecord]) -> None:
    """Records entities, new or known."""
    rows = [
        {
            "name": record.name,
            "join_key_column": record.join_key,
            "dtype": record.dtype,
            "description": record.description,
            "definition": record.definition,
        }
        for record in records
    ]
    if rows:
        written = upsert(EntityTypeRow).values(rows)
        session.execute(
            written.on_conflict_do_update(
                index_elements=["name"],
                set_={**{key: written.excluded[key] for key in rows[0]}, "updated_at": func.now()},
            )
        )


def write_groups(session: Session, created: Sequence[GroupRecord], updated: Sequence[GroupRecord], by: str) -> None:
    """Records groups with their features; those of `updated` are known."""
    if created:
        new = [{**_group_row(record), "created_by": by} for record in created]
        session.execute(insert(FeatureGroupRow), new, execution_options=_IN_BULK)
    ids = _group_ids(session)
    if updated:
        known = [ids[record.id] for record in updated]
        rows = [{**_group_row(record), "group_id": key} for key, record in zip(known, updated, strict=True)]
        session.execute(update(FeatureGroupRow), rows)
        touched = update(FeatureGroupRow).where(FeatureGroupRow.group_id.in_(known))
        session.execute(touched.values(updated_at=func.now()), execution_options={"synchronize_session": False})
    features = [row for record in [*created, *updated] for row in _feature_rows(ids[record.id], record)]
    if features:
        written = upsert(FeatureRow)
        session.execute(
            written.on_conflict_do_update(
                index_elements=["group_id", "name"],
                set_={
                    key: written.excluded[key] for key in ("dtype", "default_value", "description", "position", "pii")
                },
            ),
            features,
            execution_options=_IN_BULK,
        )


def write_views(session: Session, created: Sequence[ViewRecord], updated: Sequence[ViewRecord], by: str) -> None:
    """Records views with the groups they read, which are recorded; those of `updated` are known."""
    if created:
        new = [{**_view_row(record), "created_by": by} for record in created]
        session.execute(insert(FeatureViewRow), new, execution_options=_IN_BULK)
    ids = {f"{name}@{version}": key for key, name, version in session.execute(_VIEW_IDS)}
    if updated:
        known = [ids[record.id] for record in updated]
        rows = [{**_view_row(record), "view_id": key} for key, record in zip(known, updated, strict=True)]
        session.execute(update(FeatureViewRow), rows)
        touched = update(FeatureViewRow).where(FeatureViewRow.view_id.in_(known))
        session.execute(touched.values(updated_at=func.now()), execution_options={"synchronize_session": False})
        session.execute(delete(FeatureViewGroupRow).where(FeatureViewGroupRow.view_id.in_(known)))
    group_ids = _group_ids(session)
    reads = [
        {"view_id": ids[record.id], "position": position, "group_id": group_ids[group]}
        for record in [*created, *updated]
        for position, group in enumerate(record.groups)
    ]
    if reads:
        session.execute(insert(FeatureViewGroupRow), reads)


# Without it rows with and without NULLs are statements apart: 10,000 features were 5,000 of them.
_IN_BULK = {"render_nulls": True}
_GROUP_IDS = select(FeatureGroupRow.group_id, FeatureGroupRow.name, FeatureGroupRow.version)
_VIEW_IDS = select(FeatureViewRow.view_id, FeatureViewRow.name, FeatureViewRow.version)


def _group_ids(session: Session) -> dict[str, int]:
    return {f"{name}@{version}": key for key, name, version in session.execute(_GROUP_IDS)}


def _group_row(record: GroupRecord) -> dict[str, Any]:
    sources = ("source", "query", "sources")
    return {
        "name": record.name,
        "version": record.version,
        "entity_type": record.entity,
        "batch_source_config": {key: record.definition[key] for key in sources if key in record.definition},
        "streaming_source_config": None,
        "ttl_seconds": record.ttl_seconds,
        "posted": record.posted,
        **_status(record),
        "owner": record.owner,
        "description": record.description,
        "definition": record.definition,
        "fingerprint": record.fingerprint,
    }


def _status(record: GroupRecord | ViewRecord) -> dict[str, Any]:
    deprecated = record.deprecated
    return {
        "status": record.status,
        "successor": None if deprecated is None else deprecated.successor,
        "removal_date": None if deprecated is None else deprecated.removal_date,
    }


def _feature_rows(group_id: int, record: GroupRecord) -> Iterable[dict[str, Any]]:
    for position, feature in enumerate(record.features):
        yield {
            "group_id": group_id,
            "name": feature.name,
            "dtype": feature.dtype,
            "default_value": feature.default,
            "description": feature.description,
            "position": position,
            "pii": feature.pii,
        }


def _view_row(record: ViewRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "version": record.version,
        **_status(record),
        "owner": record.owner,
        "description": record.description,
        "definition": record.definition,
        "fingerprint": record.fingerprint,
    }
