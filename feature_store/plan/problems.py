"""What is wrong in a definition: a code, what, and what to do, found by many checks and told in one form."""

from __future__ import annotations

from dataclasses import dataclass

from feature_store.dsl.feature import Feature
from feature_store.dsl.group import FeatureGroup
from feature_store.errors import DefinitionError


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a group.

    Args:
        subject: which part of the group: a feature, whose own place is told, or words for another part.
    """

    code: str
    message: str
    remedy: str
    subject: Feature | str = ""

    def error_in(self, group: FeatureGroup) -> DefinitionError:
        """The error for people: with file and line, group and part."""
        if isinstance(self.subject, Feature):
            place, part = self.subject.place or group.place, f", feature {self.subject.name}"
        else:
            place, part = group.place, f", {self.subject}" if self.subject else ""
        where = f"{place}: group {group.id}{part}" if place else f"group {group.id}{part}"
        return DefinitionError(self.message, where=where, remedy=self.remedy, code=self.code)


class RefusedError(ValueError):
    """A part of a definition that cannot be planned; whoever knows its place makes a DefinitionError of it."""

    def __init__(self, code: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.code = code
        self.remedy = remedy
