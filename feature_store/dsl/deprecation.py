"""Deprecation: a version that is to be left behind, what comes after it, and when it may go."""

from __future__ import annotations

from dataclasses import KW_ONLY
from datetime import date

from pydantic.dataclasses import dataclass

from feature_store.dsl.definition import STRICT, Definition


@dataclass(frozen=True, eq=False, config=STRICT)
class Deprecated(Definition):
    """Says that new views and new training are to use another version; what uses this one goes on.

    Args:
        successor: what to use instead, of the same kind: "user_orders@2".
        removal: the day from which it may be retired, as a date: "2027-01-31".
        reason: why, for those who have to move.

    Example:
        >>> FeatureGroup("user_orders", deprecated=Deprecated("user_orders@2", removal="2027-01-31"), ...)
    """

    successor: str
    _: KW_ONLY
    removal: str
    reason: str = ""

    def _check(self) -> None:
        try:
            date.fromisoformat(self.removal)
        except ValueError:
            raise ValueError(f"removal={self.removal!r} is not a date: write it as '2027-01-31'") from None

    def __str__(self) -> str:
        reason = f": {self.reason}" if self.reason else ""
        return f"deprecated, successor {self.successor}, removal on {self.removal}{reason}"

    @property
    def removal_date(self) -> date:
        """The day from which it may be retired."""
        return date.fromisoformat(self.removal)
