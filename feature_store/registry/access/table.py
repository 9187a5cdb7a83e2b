"""All tokens and grants at one moment, in memory: what a server asks for every request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC

from feature_store.errors import TokenError
from feature_store.registry.access.decision import Decision, Grant, Guarded, decide
from feature_store.registry.access.tokens import Action, Token, hash_of, is_well_formed

_AGAIN = "make another one: ./fs token create"


@dataclass(frozen=True)
class AccessTable:
    """Tokens by the hashes of their secrets, and all grants, as they were when it was loaded.

    Tokens that were revoked or have expired lately are among them, so that their bearers are told so.
    """

    tokens: Mapping[str, Token] = field(default_factory=dict, repr=False)
    grants: frozenset[Grant] = frozenset()

    def authenticate(self, secret: str) -> Token:
        """The live token of a secret that somebody presents; takes about a microsecond.

        Raises:
            TokenError: if it is not a secret of ours (token-malformed), nobody's (token-unknown), taken back
                (token-revoked) or too old (token-expired). The message never holds the secret.
        """
        token = self.tokens.get(hash_of(secret))
        if token is None:
            raise _unknown(secret)
        if not token.is_live():
            raise _ended(token)
        return token

    def decide(self, token: Token, action: Action, asked: Guarded) -> Decision:
        """Whether the bearer of a token may do something to a group or a view: see `decision.decide`."""
        return decide(token, action, asked, self.grants)

    def masked(self, token: Token | None, asked: Guarded) -> frozenset[str]:
        """The columns of a group or view that the reader must not see, wherever it reads it: none without a token,
        where none is needed.

        Raises:
            AccessError: if it must not read it at all.
        """
        return frozenset() if token is None else self.decide(token, "read", asked).require().masked


def _unknown(secret: str) -> TokenError:
    if not is_well_formed(secret):
        return TokenError(
            "what was presented is not a token of this feature store",
            remedy='send "Authorization: Bearer fs_…" with the whole secret that ./fs token create has shown',
            code="token-malformed",
        )
    return TokenError("no such token is known", remedy=f"{_AGAIN}; ./fs token list shows all", code="token-unknown")


def _ended(token: Token) -> TokenError:
    if token.revoked_at is not None:
        return TokenError(
            f"the token {token.name} was revoked at {token.revoked_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
            remedy=_AGAIN,
            code="token-revoked",
        )
    assert token.expires_at is not None
    return TokenError(
        f"the token {token.name} expired at {token.expires_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
        remedy=f"./fs token revoke {token.name}, then {_AGAIN}",
        code="token-expired",
    )
