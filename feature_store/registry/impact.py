"""What a change touches downstream: the groups of an entity, the views that read them, the models that use those."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from feature_store.registry.changes import Impact
from feature_store.registry.records import EntityRecord, GroupRecord, Record, RegistryState, UsageRecord
from feature_store.registry.tables import Status


class Downstream:
    """Who reads what, in what is recorded and in what is defined; what is retired reads nothing."""

    def __init__(self, states: Iterable[RegistryState], usage: Iterable[UsageRecord]) -> None:
        self.groups: dict[str, set[str]] = defaultdict(set)
        self.views: dict[str, set[str]] = defaultdict(set)
        self.models: dict[str, set[str]] = defaultdict(set)
        for state in states:
            for group in state.groups:
                if group.status is not Status.RETIRED:
                    self.groups[group.entity].add(group.id)
            for view in state.views:
                for name in view.groups:
                    if view.status is not Status.RETIRED:
                        self.views[name].add(view.id)
        for used in usage:
            self.models[f"{used.kind} {used.used}"].add(used.model)

    def of(self, record: Record) -> Impact:
        """What reads an entity, a group or a view, directly or through others; each list by name."""
        groups = self.groups[record.id] if isinstance(record, EntityRecord) else set()
        read = {record.id} if isinstance(record, GroupRecord) else groups
        views = {view for group in read for view in self.views[group]}
        reading = views if isinstance(record, GroupRecord | EntityRecord) else {record.id}
        users = [self.models[f"view {view}"] for view in reading] + [self.models[f"group {group}"] for group in read]
        return Impact(tuple(sorted(groups)), tuple(sorted(views)), tuple(sorted(set().union(*users))))
