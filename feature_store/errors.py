"""Every error a user can meet: what is wrong, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence


class FeatureStoreError(Exception):
    """Base of all errors raised on purpose.

    Args:
        message: what is wrong, in one sentence.
        where: the place: file:line, group, feature, column or service.
        remedy: what the reader can do about it.
        code: a short stable name of this kind of error.
    """

    def __init__(self, message: str, *, where: str = "", remedy: str = "", code: str = "") -> None:
        self.message = message
        self.where = where
        self.remedy = remedy
        self.code = code
        super().__init__(str(self))

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        remedy = f" -> {self.remedy}" if self.remedy else ""
        return f"{place}{self.message}{remedy}"


class DefinitionError(FeatureStoreError):
    """A definition in `feature_defs/` is wrong; nothing was run."""


class DefinitionErrors(DefinitionError):  # noqa: N818 - it is many
    """All the wrong definitions of one project, collected."""

    def __init__(self, errors: Sequence[DefinitionError]) -> None:
        self.errors = tuple(errors)
        noun = "problem" if len(self.errors) == 1 else "problems"
        lines = "\n".join(f"  {error}" for error in self.errors)
        super().__init__(f"{len(self.errors)} {noun} in the definitions:\n{lines}")


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
