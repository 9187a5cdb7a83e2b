"""Tokens, grants and the audit log, for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import RenderableType
from rich.text import Text

from feature_store.registry.access.audit import AuditEntry
from feature_store.registry.access.decision import Grant
from feature_store.registry.access.tokens import Token
from feature_store.registry.listing import add_row, instant, table


def render_tokens(tokens: Sequence[Token]) -> RenderableType:
    """The tokens, a line each, expired ones marked."""
    if not tokens:
        return Text("There are no tokens: ./fs token create makes one")
    shown = table("Token", "For", "Scopes", "Model", "Created", "Expires")
    for token in tokens:
        created = f"{instant(token.created_at)} by {token.created_by}"
        add_row(
            shown,
            token.name,
            str(token.principal),
            ", ".join(sorted(token.scopes)),
            token.model or "",
            created,
            until(token.expires_at),
        )
    return shown


def render_grants(grants: Sequence[Grant]) -> RenderableType:
    """The grants, a line each."""
    if not grants:
        return Text("There are no grants: ./fs grant gives one")
    shown = table("Principal", "Scope", "Kind", "Name")
    for grant in grants:
        add_row(shown, str(grant.principal), grant.scope, grant.kind, grant.name)
    return shown


def render_entries(entries: Sequence[AuditEntry]) -> RenderableType:
    """Entries of the audit log, a line each."""
    if not entries:
        return Text("Nothing was done yet")
    shown = table("When", "By", "Action", "Subject", "Details")
    for entry in entries:
        details = "; ".join(f"{name} {_text(value)}" for name, value in entry.details.items())
        add_row(shown, instant(entry.happened_at), entry.by, entry.action, entry.subject, details)
    return shown


def until(expires_at: datetime | None) -> str:
    """When a token expires, or has expired."""
    if expires_at is None:
        return "never"
    return f"{'expired ' if expires_at <= datetime.now(UTC) else ''}{instant(expires_at)}"


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
