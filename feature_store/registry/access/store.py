"""Tokens, grants and the audit log in the registry's database."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Engine, and_, delete, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from feature_store.duration import MILLISECOND
from feature_store.errors import ConflictError, InputError, NotFoundError, choices
from feature_store.registry.access.audit import AuditEntry, announce, read_entries, record_act
from feature_store.registry.access.decision import GRANT_SCOPES, Grant, Scope
from feature_store.registry.access.table import AccessTable
from feature_store.registry.access.tokens import NewToken, Principal, Token, as_scopes, hash_of, new_secret
from feature_store.registry.database import service_errors
from feature_store.registry.records import Kind
from feature_store.registry.tables import FeatureGroupRow, FeatureViewRow, GrantRow, TokenRow

REMEMBERED = timedelta(days=30)
"""How long the bearer of an ended token is told that it was revoked or has expired; later it is unknown."""


class AccessControl:
    """The records of tokens, grants and acts.

    Every act leaves an entry in the audit log and is told on `audit.CHANNEL`, in its own transaction. All methods raise
    StackError when the database does not answer or has no tables yet.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def load(self) -> AccessTable:
        """All tokens and grants at one moment, for a server; two short queries."""
        with service_errors(self.engine), Session(self.engine) as session:
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            rows = session.scalars(select(TokenRow).where(_remembered(datetime.now(UTC) - REMEMBERED)))
            tokens = {row.secret_hash: _token(row) for row in rows}
            return AccessTable(MappingProxyType(tokens), frozenset(map(_grant, session.scalars(select(GrantRow)))))

    def tokens(self) -> tuple[Token, ...]:
        """The tokens that are not revoked, expired ones too, by name."""
        with service_errors(self.engine), Session(self.engine) as session:
            wanted = select(TokenRow).where(TokenRow.revoked_at.is_(None)).order_by(TokenRow.name)
            return tuple(map(_token, session.scalars(wanted)))

    def create_token(
        self,
        name: str,
        principal: Principal,
        by: str,
        *,
        scopes: Iterable[str] = ("read",),
        model: str | None = None,
        expires_in: int | None = None,
    ) -> NewToken:
        """Makes a token, and gives it with its secret, which is recorded nowhere: only its hash is.

        Args:
            by: who makes it.
            expires_in: how long it is good for (microseconds); None is for ever.

        Raises:
            InputError: if the name is empty, a scope unknown, or the token would be good for no time, or for too long.
            ConflictError: if there is a token of this name that is not revoked.
        """
        if not name.strip():
            raise InputError("a token needs a name", remedy="name it after its use, such as ranker", code="token-name")
        now, secret = datetime.now(UTC), new_secret()
        expires_at = None if expires_in is None else _later(now, expires_in)
        values = {
            "name": name,
            "principal": str(principal),
            "model_name": model,
            "secret_hash": hash_of(secret),
            "scopes": sorted(as_scopes(scopes)),
            "created_at": now,
            "created_by": by,
            "expires_at": expires_at,
        }
        with service_errors(self.engine), Session(self.engine) as session, session.begin():
            free = TokenRow.revoked_at.is_(None)
            made = upsert(TokenRow).values(values).on_conflict_do_nothing(index_elements=["name"], index_where=free)
            row = session.scalars(made.returning(TokenRow)).one_or_none()
            if row is None:
                raise ConflictError(
                    f"there is a token {name!r} already",
                    remedy=f"choose another name, or take that one back: ./fs token revoke {name}",
                    code="token-exists",
                )
            until = {} if expires_at is None else {"expires_at": expires_at.isoformat()}
            serves = {} if model is None else {"model": model}
            details = {"principal": values["principal"], "scopes": values["scopes"], **serves, **until}
            record_act(session, by, "create token", name, details)
            announce(session, "access")
            return NewToken(_token(row), secret)

    def revoke_token(self, name: str, by: str) -> Token:
        """Takes a token back, for good: from the next load on its bearer is refused. Its name is free again.

        Raises:
            NotFoundError: if no token of this name is to be revoked; names those there are.
        """
        with service_errors(self.engine), Session(self.engine) as session, session.begin():
            wanted = (TokenRow.name == name) & TokenRow.revoked_at.is_(None)
            revoked = update(TokenRow).where(wanted).values(revoked_at=datetime.now(UTC))
            row = session.scalars(revoked.returning(TokenRow)).one_or_none()
            if row is None:
                known = session.scalars(select(TokenRow.name).where(TokenRow.revoked_at.is_(None)))
                raise NotFoundError(
                    f"there is no token {name!r} to revoke", remedy=choices(name, known, "tokens"), code="no-token"
                )
            record_act(session, by, "revoke token", name, {"principal": row.principal})
            announce(session, "access")
            return _token(row)

    def grants(self) -> tuple[Grant, ...]:
        """All grants, by principal, kind, name and scope."""
        order = (GrantRow.principal, GrantRow.kind, GrantRow.name, GrantRow.scope)
        with service_errors(self.engine), Session(self.engine) as session:
            return tuple(map(_grant, session.scalars(select(GrantRow).order_by(*order))))

    def grant(self, principal: Principal, scope: Scope, name: str, by: str, *, kind: Kind = "group") -> bool:
        """Lets a principal do something with all versions of a group or a view; whether it could not before.

        Raises:
            NotFoundError: if nothing of this name is recorded.
            InputError: if it is of personal data of a view: these are granted by the groups that they come from.
        """
        if kind == "view" and scope == "pii":
            raise InputError(
                f"personal data belong to groups, and {name} is a view",
                remedy="grant pii of each group that they come from",
                code="pii-of-view",
            )
        with service_errors(self.engine), Session(self.engine) as session, session.begin():
            _check_recorded(session, kind, name)
            key = {"principal": str(principal), "kind": kind, "name": name, "scope": scope}
            row = upsert(GrantRow).values({**key, "created_at": datetime.now(UTC), "created_by": by})
            made = session.scalars(row.on_conflict_do_nothing().returning(GrantRow.name)).one_or_none()
            if made is not None:
                record_act(session, by, "grant", f"{kind} {name}", {"principal": key["principal"], "scope": scope})
                announce(session, "access")
            return made is not None

    def ungrant(self, principal: Principal, scope: Scope, name: str, by: str, *, kind: Kind = "group") -> None:
        """Takes a grant back.

        Raises:
            NotFoundError: if there is no such grant; names those that the principal has.
        """
        with service_errors(self.engine), Session(self.engine) as session, session.begin():
            of_principal = GrantRow.principal == str(principal)
            wanted = and_(of_principal, GrantRow.kind == kind, GrantRow.name == name, GrantRow.scope == scope)
            gone = session.scalars(delete(GrantRow).where(wanted).returning(GrantRow.name)).one_or_none()
            if gone is None:
                has = [
                    f"{row.scope} {row.kind} {row.name}"
                    for row in session.scalars(select(GrantRow).where(of_principal))
                ]
                raise NotFoundError(
                    f"{principal} has no grant {scope} of the {kind} {name}",
                    remedy=choices(f"{scope} {kind} {name}", has, "its grants"),
                    code="no-grant",
                )
            record_act(session, by, "ungrant", f"{kind} {name}", {"principal": str(principal), "scope": scope})
            announce(session, "access")

    def record(self, by: str, action: str, subject: str, details: dict[str, Any] | None = None) -> None:
        """Adds an entry to the audit log, of an act that is none of the registry's own."""
        with service_errors(self.engine), Session(self.engine) as session, session.begin():
            record_act(session, by, action, subject, details or {})

    def entries(self, limit: int = 50) -> tuple[AuditEntry, ...]:
        """The latest entries of the audit log, the latest first."""
        with service_errors(self.engine), Session(self.engine) as session:
            return read_entries(session, limit)


def _remembered(since: datetime) -> ColumnElement[bool]:
    """Tokens that are live, or have ended since an instant."""
    return and_(
        or_(TokenRow.revoked_at.is_(None), TokenRow.revoked_at > since),
        or_(TokenRow.expires_at.is_(None), TokenRow.expires_at > since),
    )


def _later(now: datetime, microseconds: int) -> datetime:
    try:
        later = now + timedelta(milliseconds=microseconds // MILLISECOND)
    except OverflowError:
        later = now
    if later <= now:
        raise InputError(
            "a token cannot be good for no time, or until after the year 9999",
            remedy="give a duration such as 90d, or none",
            code="expiry",
        )
    return later


def _check_recorded(session: Session, kind: Kind, name: str) -> None:
    column = FeatureViewRow.name if kind == "view" else FeatureGroupRow.name
    known = set(session.scalars(select(column).distinct()))
    if name not in known:
        raise NotFoundError(
            f"no feature {kind} {name!r} is recorded", remedy=choices(name, known, f"{kind}s"), code="not-recorded"
        )


def _token(row: TokenRow) -> Token:
    return Token(
        id=row.token_id,
        name=row.name,
        principal=Principal.parse(row.principal),
        scopes=as_scopes(row.scopes),
        model=row.model_name,
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )


def _grant(row: GrantRow) -> Grant:
    kind: Kind = "view" if row.kind == "view" else "group"
    (scope,) = [scope for scope in GRANT_SCOPES if scope == row.scope]
    return Grant(Principal.parse(row.principal), kind, row.name, scope)
