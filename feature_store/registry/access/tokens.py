"""Tokens: the secret that a caller presents, and what is known of whoever presents it."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, get_args

from feature_store.errors import InputError

Action = Literal["read", "write", "admin"]
"""What a caller does to a group or a view; a scope of a token is the leave to do it at all."""
SCOPES: tuple[Action, ...] = get_args(Action)

_PREFIX = "fs_"
_SECRET = re.compile(rf"{_PREFIX}[A-Za-z0-9_-]{{43}}")
_PRINCIPAL = re.compile(r"(team|service):[\w.\-]+")


@dataclass(frozen=True)
class Principal:
    """Who acts: a team, which may own definitions, or a service."""

    kind: Literal["team", "service"]
    name: str

    @classmethod
    def parse(cls, text: str) -> Principal:
        """The principal written as "team:recommendations" or "service:ranker".

        Raises:
            InputError: if the text is of neither form.
        """
        if _PRINCIPAL.fullmatch(text) is None:
            raise InputError(
                f"{text!r} is neither a team nor a service",
                remedy="write team:recommendations or service:ranker",
                code="principal",
            )
        kind, _, name = text.partition(":")
        return cls("team" if kind == "team" else "service", name)

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True)
class Token:
    """What is recorded of a token; its secret is not.

    Args:
        principal: whom it belongs to.
        scopes: what may be done with it at all; "admin" holds the other two.
        model: the model that it serves, if it serves one.
        expires_at: from when on it is refused; None is never.
        revoked_at: since when it is refused, if somebody took it back.
    """

    id: int
    name: str
    principal: Principal
    scopes: frozenset[Action]
    model: str | None
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def permits(self, action: Action) -> bool:
        """Whether its scopes leave room for an action, on whatever."""
        return action in self.scopes or "admin" in self.scopes

    def is_live(self) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or datetime.now(UTC) < self.expires_at)


@dataclass(frozen=True)
class NewToken:
    """A token that was just made, with its secret, which nobody can find out again."""

    token: Token
    secret: str = field(repr=False)


def new_secret() -> str:
    """A random secret of 256 bits, with a prefix by which it is recognized where it should not be."""
    return _PREFIX + secrets.token_urlsafe(32)


def hash_of(secret: str) -> str:
    """The hash by which a secret is known. A random secret needs no salt, and no slow function."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def is_well_formed(secret: str) -> bool:
    """Whether a text could be a secret of ours."""
    return _SECRET.fullmatch(secret) is not None


def as_scopes(names: Iterable[str]) -> frozenset[Action]:
    """Scopes by their names.

    Raises:
        InputError: if one is unknown, or there is none.
    """
    given = set(names)
    known = frozenset(scope for scope in SCOPES if scope in given)
    if not known or known != given:
        raise InputError(
            f"{', '.join(sorted(given - known)) or 'nothing'} is no scope of a token",
            remedy=f"give one or more of {', '.join(SCOPES)}",
            code="scope",
        )
    return known
