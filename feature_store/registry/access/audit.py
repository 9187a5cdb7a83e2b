"""The audit log: an entry in the transaction of each act, and a word to those who listen for changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from feature_store.registry.tables import AuditRow

CHANNEL = "feature_store_changes"
"""PostgreSQL channel on which every committed change is told: LISTEN there, and load again what the payload names."""
Changed = Literal["access", "definitions", "usage"]
"""The payload: tokens and grants; entities, groups and views; or models: a new user of one of them, a registration."""


@dataclass(frozen=True)
class AuditEntry:
    """One act: who did what to what, and when."""

    id: int
    happened_at: datetime
    by: str
    action: str
    subject: str
    details: dict[str, Any]


def record_act(session: Session, by: str, action: str, subject: str, details: dict[str, Any]) -> None:
    """Adds an entry, which stands if the session's transaction does."""
    session.execute(insert(AuditRow).values(done_by=by, action=action, subject=subject, details=details))


def announce(session: Session, changed: Changed) -> None:
    """Tells those who listen on `CHANNEL`, once the session's transaction is committed."""
    session.execute(select(func.pg_notify(CHANNEL, changed)))


def read_entries(session: Session, limit: int) -> tuple[AuditEntry, ...]:
    """The latest entries, the latest first."""
    rows = session.scalars(select(AuditRow).order_by(AuditRow.entry_id.desc()).limit(limit))
    return tuple(
        AuditEntry(row.entry_id, row.happened_at, row.done_by, row.action, row.subject, row.details) for row in rows
    )
