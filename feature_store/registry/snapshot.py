"""All that is recorded, at one moment, as a server keeps it: in memory, and in a file for when the database is down."""

from __future__ import annotations

from dataclasses import dataclass

from feature_store.registry.model_records import ModelRecord
from feature_store.registry.records import EntityRecord, GroupRecord, RegistryState, UsageRecord, ViewRecord


@dataclass(frozen=True)
class RegistrySnapshot:
    """The recorded definitions, their users and the registered models.

    Attributes:
        plan_id: the plan that was applied last; 0 before the first.
    """

    plan_id: int = 0
    entities: tuple[EntityRecord, ...] = ()
    groups: tuple[GroupRecord, ...] = ()
    views: tuple[ViewRecord, ...] = ()
    usage: tuple[UsageRecord, ...] = ()
    models: tuple[ModelRecord, ...] = ()

    @property
    def state(self) -> RegistryState:
        """The definitions alone."""
        return RegistryState(self.entities, self.groups, self.views)
