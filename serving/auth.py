"""Who asks, and what they may see. Decisions are those of `registry.access`; here they are only looked up."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from feature_store.errors import StackError, TokenError
from feature_store.registry.access.decision import Decision, Grant, Guarded
from feature_store.registry.access.table import AccessTable
from feature_store.registry.access.tokens import Action, Token
from serving.definitions import ServedView
from serving.rate import RateLimits

_BEARER = b"bearer "
_MOST_DECISIONS = 100_000


class Gate:
    """Lets callers in by their tokens.

    Args:
        access: gives the tokens and grants of the moment.
        required: whether a caller without a token is refused; otherwise it may read everything.
        limits: how often each token may ask.
    """

    def __init__(self, access: Callable[[], AccessTable], *, required: bool, limits: RateLimits) -> None:
        self._access = access
        self._required = required
        self._limits = limits
        self._table: AccessTable | None = None
        self._decisions: dict[tuple[int, int], tuple[ServedView, frozenset[str]]] = {}

    def caller(self, headers: Mapping[bytes, bytes]) -> Token | None:
        """The token that a request presents; None if it presents none and needs none.

        Raises:
            TokenError: if it needs one, or presents one that is not good.
            StackError: if the token has made too many requests.
        """
        token = self.token(headers)
        if token is not None:
            self._limits.take(token.id)
        return token

    def lets_in(self, token: Token) -> bool:
        """Whether the bearer of a token that was good may ask now, as `caller` says; then it counts for its limit."""
        if not token.is_live():
            return False
        try:
            self._limits.take(token.id)
        except StackError:
            return False
        return True

    @property
    def table(self) -> AccessTable:
        """The tokens and grants of the moment."""
        return self._access()

    def token(self, headers: Mapping[bytes, bytes]) -> Token | None:
        """The same as `caller`, of no request: it does not count for a limit.

        Raises:
            TokenError: as there.
        """
        given = headers.get(b"authorization")
        if given is None:
            if self._required:
                raise TokenError(
                    "the request has no token",
                    where="Authorization",
                    remedy='send "Authorization: Bearer fs_…"; ./fs token create makes one',
                    code="token-missing",
                )
            return None
        secret = given[len(_BEARER) :] if given[: len(_BEARER)].lower() == _BEARER else b""
        return self._access().authenticate(secret.decode("latin-1"))

    def decide(self, token: Token | None, action: Action, asked: Guarded) -> Decision:
        """Whether a caller may do something to a group; everything, if it needs no token and presents none."""
        return Decision(True) if token is None else self._access().decide(token, action, asked)

    @property
    def grants(self) -> frozenset[Grant]:
        """All grants of the moment."""
        return self._access().grants

    def masked(self, token: Token | None, served: ServedView) -> frozenset[str]:
        """The columns of a group or view that a caller must not see.

        Raises:
            AccessError: if it must not read it at all.
        """
        if token is None:
            return frozenset()
        table = self._access()
        if table is not self._table or len(self._decisions) > _MOST_DECISIONS:
            self._table, self._decisions = table, {}
        key = (token.id, id(served))
        known = self._decisions.get(key)
        if known is None:
            known = self._decisions[key] = (
                served,
                table.masked(token, served.guarded),
            )  # kept alive, so that its id stays its own
        return known[1]
