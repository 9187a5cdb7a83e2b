"""Every error a user can meet: what is wrong, where, and what to do about it."""

from __future__ import annotations

import copyreg
import difflib
from collections.abc import Iterable, Sequence
from typing import Any


class FeatureStoreError(Exception):
    """Base of all errors raised on purpose.

    Args:
        message: what is wrong, in one sentence.
        where: the place: file:line, group, feature, column or service.
        remedy: what the reader can do about it.
        code: a short stable name of this kind of error, which `./fs errors CODE` explains.
    """

    def __init__(self, message: str, *, code: str, where: str = "", remedy: str = "") -> None:
        self.message = message
        self.where = where
        self.remedy = remedy
        self.code = code
        super().__init__(str(self))

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        remedy = f" -> {self.remedy}" if self.remedy else ""
        code = f" [{self.code}]" if self.code else ""
        return f"{place}{self.message}{remedy}{code}"

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors cross from one process to another; their keyword arguments would be lost on the way."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


def choices(wanted: str, known: Iterable[str], noun: str = "columns") -> str:
    """The remedy for a name that is not there: the one that was probably meant, and all there are."""
    names = sorted(known)
    near = difflib.get_close_matches(wanted, names, n=1)
    meant = f"did you mean {near[0]!r}? " if near else ""
    return f"{meant}{noun} are: {', '.join(names) or 'none'}"


class DefinitionError(FeatureStoreError):
    """A definition in `feature_defs/` is wrong; nothing was run."""


class DefinitionErrors(DefinitionError):  # noqa: N818 - it is many
    """All the wrong definitions of one project, collected."""

    def __init__(self, errors: Sequence[DefinitionError]) -> None:
        self.errors = tuple(errors)
        noun = "problem" if len(self.errors) == 1 else "problems"
        lines = "\n".join(f"  {error}" for error in self.errors)
        super().__init__(f"{len(self.errors)} {noun} in the definitions:\n{lines}", code="")  # each has its own


class InputError(FeatureStoreError):
    """Data handed in by a caller (labels, entity rows, source tables) does not fit."""


class StackError(FeatureStoreError):
    """A service or program the feature store stands on is missing or broken."""


class NotFoundError(FeatureStoreError):
    """A name that nothing is registered under."""


class ConflictError(FeatureStoreError):
    """Somebody else changed the same thing first, or the change is refused as unsafe."""


class QualityError(FeatureStoreError):
    """Data failed a blocking expectation; it was not published."""


class AccessError(FeatureStoreError):
    """Whoever asks may not do what was asked (of a server: 403)."""


class TokenError(AccessError):
    """It is not known who asks: the token is malformed, unknown, expired or revoked (of a server: 401)."""
