"""What a plan says: typed changes, each with its details, and for each detail whether it is safe and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from feature_store.registry.records import EntityRecord, GroupRecord, Record

Action = Literal["create", "update"]
Subject = Literal["entity", "feature group", "feature view"]


@dataclass(frozen=True)
class Detail:
    """One difference between what is recorded (`old`, None if there was nothing) and what is defined (`new`)."""

    what: str
    old: str | None
    new: str | None
    breaking: bool
    reason: str

    def __str__(self) -> str:
        if self.old is None:
            said = f"{self.what} added: {self.new}"
        elif self.new is None:
            said = f"{self.what} removed: {self.old}"
        else:
            said = f"{self.what}: {self.old} -> {self.new}"
        return " ".join(said.split())


@dataclass(frozen=True)
class Change:
    """One entity, group or view to be recorded for the first time or anew; `record` is what will be written.

    `summary` describes what is created; `details` say how what is updated differs; `remedy` is for a breaking change.
    """

    action: Action
    record: Record
    summary: str = ""
    details: tuple[Detail, ...] = ()
    remedy: str = ""

    @property
    def subject(self) -> Subject:
        """What kind of definition changes."""
        if isinstance(self.record, EntityRecord):
            return "entity"
        return "feature group" if isinstance(self.record, GroupRecord) else "feature view"

    @property
    def id(self) -> str:
        """The identity of what changes: "user_orders@1", or the name of an entity."""
        return self.record.id

    @property
    def breaking(self) -> bool:
        """Whether the change would alter what is served under a recorded identity."""
        return any(detail.breaking for detail in self.details)

    def to_json(self) -> dict[str, Any]:
        """The change as kept in `applied_plans`."""
        said = [str(detail) for detail in self.details] or [self.summary]
        return {"action": self.action, "subject": self.subject, "id": self.id, "details": said}


@dataclass(frozen=True)
class RegistryPlan:
    """The ordered changes (entities, groups, views) that lead from a recorded state to a project.

    Args:
        state_fingerprint: of the recorded state; `apply` refuses the plan when the registry has moved on.
        unchanged: number of definitions recorded as they are.
        no_longer_defined: ids that are recorded but not defined; they are left as they are.
    """

    state_fingerprint: str
    changes: tuple[Change, ...] = ()
    unchanged: int = 0
    no_longer_defined: tuple[str, ...] = ()

    @property
    def creating(self) -> tuple[Change, ...]:
        """What is recorded for the first time."""
        return tuple(change for change in self.changes if change.action == "create")

    @property
    def safe(self) -> tuple[Change, ...]:
        """Updates that alter no value."""
        return tuple(change for change in self.changes if change.action == "update" and not change.breaking)

    @property
    def breaking(self) -> tuple[Change, ...]:
        """Updates that `apply` refuses."""
        return tuple(change for change in self.changes if change.breaking)

    def __str__(self) -> str:
        return (
            f"{len(self.creating)} to create, {len(self.safe)} to change safely, "
            f"{len(self.breaking)} breaking, {self.unchanged} unchanged"
        )
