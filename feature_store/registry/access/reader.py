"""Who reads in a process that asks the stores itself: the bearer of a token, for whom the grants count as anywhere."""

from __future__ import annotations

import getpass
import time

from feature_store.registry.access.decision import Guarded
from feature_store.registry.access.store import AccessControl
from feature_store.registry.access.table import AccessTable
from feature_store.registry.access.tokens import Token

REMEMBERED_SECONDS = 5.0
"""How long tokens and grants are remembered for reads that are to be quick."""


class LocalReader:
    """Decides what may be read, as a server does for the same token.

    Without a token everything may be read, as on a server of this machine: whoever has the passwords of the registry
    and the stores needs nobody's leave.

    Args:
        access: the tokens and grants.
        secret: of the token; empty: none.
    """

    def __init__(self, access: AccessControl, secret: str) -> None:
        self._access = access
        self._secret = secret
        self._known: tuple[float, AccessTable] | None = None

    def caller(self) -> Token | None:
        """The token of this moment; None without one.

        Raises:
            TokenError: if it is not good.
            StackError: if the registry does not answer.
        """
        return self._table(at_once=True).authenticate(self._secret) if self._secret else None

    def masked(self, asked: Guarded, *, at_once: bool = False) -> frozenset[str]:
        """The columns of a group or view that must not be seen.

        Args:
            at_once: whether tokens and grants are those of this moment, not of some seconds ago.

        Raises:
            TokenError: if the token is not good.
            AccessError: if it must not be read at all.
            StackError: if the registry does not answer.
        """
        if not self._secret:
            return frozenset()
        table = self._table(at_once)
        return table.masked(table.authenticate(self._secret), asked)

    def _table(self, at_once: bool) -> AccessTable:
        known, now = self._known, time.monotonic()
        if known is None or at_once or now - known[0] > REMEMBERED_SECONDS:
            known = self._known = now, self._access.load()
        return known[1]


def current_user() -> str:
    """Whose process this is; empty where the system has no name for him."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
