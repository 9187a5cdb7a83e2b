"""What a project's definitions look like once they are recorded."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from feature_store.dsl.entity import Entity
from feature_store.dsl.group import FeatureGroup
from feature_store.dsl.view import FeatureView
from feature_store.dsl.viewed_group import ViewedGroup
from feature_store.duration import SECOND
from feature_store.plan.lineage import feature_lineage, personal_data
from feature_store.plan.nodes import GroupPlan
from feature_store.plan.on_demand import on_demand_lineage
from feature_store.plan.project import CompiledProject
from feature_store.plan.schema import ViewSchema
from feature_store.registry.records import EntityRecord, FeatureRecord, GroupRecord, RegistryState, ViewRecord
from feature_store.registry.tables import Status


def desired_state(compiled: CompiledProject) -> RegistryState:
    """The records of a project's entities, groups and views."""
    groups = sorted(compiled.groups.values(), key=lambda plan: (plan.group.name, plan.group.version))
    views = sorted(compiled.project.views, key=lambda view: (view.name, view.version))
    return RegistryState(
        entities=_entities([plan.group for plan in groups]),
        groups=tuple(_group(plan, posted=plan.group.id in compiled.project.posted) for plan in groups),
        views=tuple(_view(view, compiled.views[view.id]) for view in views),
    )


def _entities(groups: list[FeatureGroup]) -> tuple[EntityRecord, ...]:
    declared = {group.entity.name: group.entity for group in groups}
    return tuple(_entity(declared[name]) for name in sorted(declared))


def _entity(entity: Entity) -> EntityRecord:
    names, types = ", ".join(entity.keys), ", ".join(map(str, entity.keys.values()))
    return EntityRecord(entity.name, names, types, entity.description, entity.to_json())


def _group(plan: GroupPlan, *, posted: bool) -> GroupRecord:
    group, schema, personal = plan.group, plan.schema, personal_data(plan)
    definition = {**group.to_json(), "entity": group.entity.name}
    defaults = {feature["name"]: feature.get("default") for feature in definition["features"]}
    return GroupRecord(
        name=group.name,
        version=group.version,
        entity=group.entity.name,
        owner=group.owner,
        description=group.description,
        ttl_seconds=None if schema.ttl is None else schema.ttl // SECOND,
        definition=definition,
        features=tuple(
            FeatureRecord(
                name=column.name,
                dtype=str(column.dtype),
                default=defaults.get(column.name),
                description=column.description,
                pii=column.name in personal,
            )
            for column in schema.features
        ),
        fingerprint=plan.fingerprint,
        status=_status(group),
        posted=posted,
        origins={feature: origins for feature, origins in feature_lineage(plan).items() if origins},
    )


def _view(view: FeatureView, schema: ViewSchema) -> ViewRecord:
    definition = {**view.to_json(), "groups": [_reading(group) for group in view.groups]}
    return ViewRecord(
        name=view.name,
        version=view.version,
        groups=tuple(role.group.id for role in view.viewed),
        owner=view.owner,
        description=view.description,
        definition=definition,
        fingerprint=_view_fingerprint(definition),
        status=_status(view),
        origins={feature: origins for feature, origins in on_demand_lineage(schema).items() if origins},
    )


def _reading(group: FeatureGroup | ViewedGroup) -> str | dict[str, Any]:
    """How a view reads a group: its id, and what a role says besides."""
    return group.id if isinstance(group, FeatureGroup) else {**group.to_json(), "group": group.group.id}


def _status(definition: FeatureGroup | FeatureView) -> Status:
    return Status.ACTIVE if definition.deprecated is None else Status.DEPRECATED


_ABOUT = ("owner", "description", "deprecated", "access", "prejoin")


def _view_fingerprint(definition: dict[str, Any]) -> str:
    """16 hex digits of what a model reads; the order of groups and features is no part of it: they are read by name."""
    computed = {key: value for key, value in definition.items() if key not in _ABOUT}
    computed["groups"] = sorted(map(_unordered, computed["groups"]), key=json.dumps)
    if "on_demand" in computed:
        features = [{k: v for k, v in feature.items() if k != "description"} for feature in computed["on_demand"]]
        computed["on_demand"] = sorted(features, key=lambda feature: str(feature["name"]))
    return hashlib.sha256(json.dumps(computed, sort_keys=True).encode()).hexdigest()[:16]


def _unordered(reading: str | dict[str, Any]) -> str | dict[str, Any]:
    if isinstance(reading, str) or "features" not in reading:
        return reading
    return {**reading, "features": sorted(reading["features"])}
