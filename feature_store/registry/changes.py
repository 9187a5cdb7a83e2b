"""What a plan says: typed changes, each with its details, and for each detail whether it is safe and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from feature_store.registry.records import EntityRecord, GroupRecord, Record

Action = Literal["create", "update"]
Subject = Literal["entity", "feature group", "feature view"]


@dataclass(frozen=True)
class Detail:
    """One difference between what is recorded (`old`, None if there was nothing) and what is defined (`new`).

    Without both it is a fault of something new.
    """

    what: str
    old: str | None
    new: str | None
    breaking: bool
    reason: str

    def __str__(self) -> str:
        if self.old is None and self.new is None:
            said = self.what
        elif self.old is None:
            said = f"{self.what} added: {self.new}"
        elif self.new is None:
            said = f"{self.what} removed: {self.old}"
        else:
            said = f"{self.what}: {self.old} -> {self.new}"
        return " ".join(said.split())


@dataclass(frozen=True)
class Impact:
    """What reads a definition, recorded or defined, directly or through others: ids, and names of models."""

    groups: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    models: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.groups or self.views or self.models)

    def to_json(self) -> dict[str, list[str]]:
        """The kinds that there are, each with its names."""
        return {kind: list(names) for kind, names in vars(self).items() if names}


@dataclass(frozen=True)
class Change:
    """One entity, group or view to be recorded for the first time or anew; `record` is what will be written.

    `summary` describes what is created; `details` say how what is updated differs, or why something new is refused;
    `remedy` is for a breaking change; `impact` is what an update touches downstream.
    """

    action: Action
    record: Record
    summary: str = ""
    details: tuple[Detail, ...] = ()
    remedy: str = ""
    impact: Impact = Impact()

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
        """Whether `apply` refuses it: it would alter what is served under a recorded identity, or read what is left."""
        return any(detail.breaking for detail in self.details)

    def to_json(self) -> dict[str, Any]:
        """The change as kept in `applied_plans`."""
        said = [str(detail) for detail in self.details] or [self.summary]
        impact = {"impact": self.impact.to_json()} if self.impact else {}
        return {"action": self.action, "subject": self.subject, "id": self.id, "details": said, **impact}


@dataclass(frozen=True)
class RegistryPlan:
    """The ordered changes (entities, groups, views) that lead from a recorded state to a project.

    Args:
        state_fingerprint: of the recorded state; `apply` refuses the plan when the registry has moved on.
        unchanged: number of definitions recorded as they are.
        no_longer_defined: ids that are recorded but not defined, nor retired; they are left as they are.
        outdated: what recorded views still read although it is deprecated, a line each.
    """

    state_fingerprint: str
    changes: tuple[Change, ...] = ()
    unchanged: int = 0
    no_longer_defined: tuple[str, ...] = ()
    outdated: tuple[str, ...] = ()

    @property
    def creating(self) -> tuple[Change, ...]:
        """What is recorded for the first time."""
        return tuple(change for change in self.changes if change.action == "create" and not change.breaking)

    @property
    def safe(self) -> tuple[Change, ...]:
        """Updates that alter no value."""
        return tuple(change for change in self.changes if change.action == "update" and not change.breaking)

    @property
    def breaking(self) -> tuple[Change, ...]:
        """What `apply` refuses."""
        return tuple(change for change in self.changes if change.breaking)

    def __str__(self) -> str:
        return (
            f"{len(self.creating)} to create, {len(self.safe)} to change safely, "
            f"{len(self.breaking)} breaking, {self.unchanged} unchanged"
        )
