"""Which vectors Redis is to keep, as the registry says: those of pre-joined views that are not retired."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from feature_store.online.vector_sets import VectorSet, keep_sets, vector_sets
from feature_store.plan.build import view_schema
from feature_store.registry.records import ViewRecord
from feature_store.registry.store import Registry
from feature_store.registry.tables import Status

if TYPE_CHECKING:
    from redis import Redis


def recorded_sets(registry: Registry, groups: Collection[str]) -> tuple[VectorSet, ...]:
    """The sets of the recorded views that read one of some groups.

    Args:
        groups: ids.
    """
    joined = [view for view in registry.views() if _is_prejoined(view) and not set(groups).isdisjoint(view.groups)]
    if not joined:
        return ()
    state = registry.state()
    entities = {entity.name: entity for entity in state.entities}
    members = {record.id: record for record in state.groups}
    definitions = {
        name: members[name].group(entities[members[name].entity])
        for name in {name for view in joined for name in view.groups}
    }
    return vector_sets(view_schema(_stored_part(view).view(definitions)) for view in joined)


def keep_recorded_sets(registry: Registry, redis: Redis, groups: Collection[str], *, again: bool = False) -> None:
    """Has Redis keep the vectors of pre-joined views that read some groups, and drop those of views that no longer are.

    Args:
        redis: from `connect`.
        groups: ids of what is about to be written.
        again: whether to make vectors anew that are complete, too.

    Raises:
        StackError: if Redis or the registry does not answer.
    """
    keep_sets(redis, recorded_sets(registry, groups), groups, again=again)


def _is_prejoined(view: ViewRecord) -> bool:
    return view.status is not Status.RETIRED and bool(view.definition.get("prejoin", False))


def _stored_part(view: ViewRecord) -> ViewRecord:
    """The view without what is computed: functions of on-demand features need not be at hand."""
    computed = ("on_demand", "request")
    return replace(view, definition={name: of for name, of in view.definition.items() if name not in computed})
