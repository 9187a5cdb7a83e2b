"""Comparing a project with what is recorded: a plan of ordered changes, each safe or breaking, nothing executed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

from feature_store.dsl.group import FeatureGroup
from feature_store.errors import DefinitionErrors
from feature_store.plan.build import build_plan
from feature_store.plan.project import CompiledProject
from feature_store.registry.changes import Change, Detail, RegistryPlan
from feature_store.registry.desired import desired_state
from feature_store.registry.facts import NONE, Fact, entity_facts, group_facts, view_facts
from feature_store.registry.impact import Downstream
from feature_store.registry.lifecycle import refused_reads, successors
from feature_store.registry.records import (
    EntityRecord,
    GroupRecord,
    Record,
    RegistryState,
    UsageRecord,
    ViewRecord,
)
from feature_store.registry.rules import REORDERED, SAME_MEANING, Rule, added_rule, changed_rule, removed_rule
from feature_store.registry.tables import Status

R = TypeVar("R", EntityRecord, GroupRecord, ViewRecord)
_TAKEN_OVER = Detail("kept in", "the registry, where it was posted to", "the code", False, "the same group")
_RETIRED = Detail("status", Status.RETIRED, "defined again", True, "what is retired stays retired")


def plan_changes(recorded: RegistryState, compiled: CompiledProject, usage: Iterable[UsageRecord] = ()) -> RegistryPlan:
    """The changes that would make the registry say what the project says; `usage` is by models, for their impact.

    Raises:
        DefinitionError: if the project's definitions do not fit together.
    """
    desired = desired_state(compiled)
    old_entities = {entity.name: entity for entity in recorded.entities}
    new_entities = {entity.name: entity for entity in desired.entities}

    def group_details(old: GroupRecord, new: GroupRecord) -> list[Detail]:
        taken_over = [_TAKEN_OVER] if old.posted and not new.posted else []
        return taken_over + _group_details(old, old_entities[old.entity], new, new_entities[new.entity])

    groups = {group.id: group for group in desired.groups}
    known_groups = {group.id for group in recorded.groups}
    compared = [
        *_compared(recorded.entities, desired.entities, _entity_details),
        *_compared(recorded.groups, desired.groups, group_details),
        *(
            _may_be_new(change, groups, known_groups)
            for change in _compared(recorded.views, desired.views, _view_details)
        ),
    ]
    downstream = Downstream((recorded, desired), usage)
    changes = tuple(
        change if change.action == "create" else replace(change, impact=downstream.of(change.record))
        for change in compared
        if change.action == "create" or change.details
    )
    refused = {change.id for change in changes if change.breaking and change.subject == "feature view"}
    defined = {(type(record), record.id) for record in desired}
    return RegistryPlan(
        state_fingerprint=recorded.fingerprint,
        changes=changes,
        unchanged=len(compared) - len(changes),
        no_longer_defined=tuple(
            record.id for record in recorded if (type(record), record.id) not in defined and not _is_retired(record)
        ),
        outdated=tuple(
            f"{view.id} reads {groups[name].id}: {groups[name].deprecated}"
            for view in desired.views
            for name in dict.fromkeys(view.groups)
            if view.id not in refused and groups[name].status is Status.DEPRECATED
        ),
    )


def _compared(
    recorded: tuple[R, ...], desired: tuple[R, ...], details: Callable[[R, R], list[Detail]]
) -> Iterator[Change]:
    """One change for each desired record, without details if it is recorded as it is; what is new comes first."""
    known = {record.id: record for record in recorded}
    for new in desired:
        if new.id not in known:
            yield Change("create", new, summary=_summary(new))
    for new in desired:
        if new.id in known:
            retired = _is_retired(known[new.id])
            found = (_RETIRED,) if retired else tuple(details(known[new.id], new))
            breaking = any(detail.breaking for detail in found)
            remedy = _remedy(new, [*recorded, *desired], retired=retired) if breaking else ""
            yield Change("update", _kept(known[new.id], new), details=found, remedy=remedy)


def _may_be_new(change: Change, groups: dict[str, GroupRecord], recorded: Collection[str]) -> Change:
    """A view's change, with what stands against it if it is new."""
    if change.action != "create" or not isinstance(change.record, ViewRecord):
        return change
    details = refused_reads(change.record, groups, recorded)
    return replace(change, details=details, remedy=f"read {successors(change.record, groups)}") if details else change


def _is_retired(record: Record) -> bool:
    return not isinstance(record, EntityRecord) and record.status is Status.RETIRED


def _kept(old: R, new: R) -> R:
    """The new record with what the old one knows besides its definition."""
    if isinstance(old, EntityRecord) or isinstance(new, EntityRecord):
        return new
    return replace(new, created_by=old.created_by, created_at=old.created_at, updated_at=old.updated_at)


def _summary(record: Record) -> str:
    if isinstance(record, EntityRecord):
        return f"join key {record.join_key} {record.dtype}"
    if isinstance(record, GroupRecord):
        count = len(record.features)
        return f"{count} feature{'' if count == 1 else 's'} of {record.entity}, owner {record.owner}"
    computes = f", computes {', '.join(f['name'] for f in record.on_demand)} on demand" if record.on_demand else ""
    return f"reads {', '.join(map(str, record.readings))}{computes}, owner {record.owner}"


def _remedy(record: Record, known: Iterable[Record], *, retired: bool) -> str:
    if isinstance(record, EntityRecord):
        return "undo it, or declare an entity of another name and new versions of its groups"
    versions = [other.version for other in known if not isinstance(other, EntityRecord) and other.name == record.name]
    if retired:
        return f"take it out of the definitions, or define it with version={max(versions) + 1}"
    return f"undo it, or keep {record.id} as recorded and define the change with version={max(versions) + 1}"


def _entity_details(old: EntityRecord, new: EntityRecord) -> list[Detail]:
    return _differences(entity_facts(old), entity_facts(new))


def _view_details(old: ViewRecord, new: ViewRecord) -> list[Detail]:
    found = _differences(view_facts(old), view_facts(new))
    read = (tuple(reading.id for reading in view.readings) for view in (old, new))
    found += _reordered("order of groups", *read)
    names = (tuple(feature["name"] for feature in view.on_demand) for view in (old, new))
    found += _reordered("order of on-demand features", *names)
    return found or _origins(old, new)


def _group_details(
    old: GroupRecord, old_entity: EntityRecord, new: GroupRecord, new_entity: EntityRecord
) -> list[Detail]:
    if (old.definition, old.columns, old.fingerprint) == (new.definition, new.columns, new.fingerprint):
        return _origins(old, new)
    same_meaning = _same_meaning(old, new, new_entity)
    old_facts = group_facts(old.group(old_entity), old.columns)
    new_facts = group_facts(new.group(new_entity), new.columns)
    found = _differences(old_facts, new_facts, same_meaning)
    found += _reordered("order of features", tuple(old.columns), tuple(new.columns))
    same_key = (old_entity.join_key, old_entity.dtype) == (new_entity.join_key, new_entity.dtype)
    if not found and same_key and old.fingerprint != new.fingerprint:
        reason = "the same definition, compiled by another version of the feature store"
        found.append(Detail("fingerprint", old.fingerprint, new.fingerprint, False, reason))
    return found


def _origins(old: GroupRecord | ViewRecord, new: GroupRecord | ViewRecord) -> list[Detail]:
    """A detail if the recorded lineage is not that of the definition: never recorded, or told otherwise by now."""
    if old.origins == new.origins:
        return []
    return [Detail("lineage", _told(old), _told(new), False, "where values come from, not what they are")]


def _told(record: GroupRecord | ViewRecord) -> str:
    return ", ".join(sorted({".".join(origin) for each in record.origins.values() for origin in each})) or NONE


def _same_meaning(old: GroupRecord, new: GroupRecord, entity: EntityRecord) -> bool:
    """Whether the recorded features still compute the recorded values, however they are spelt now.

    Additions change the fingerprint of the whole, so that of the group without them is compared.
    """
    if new.fingerprint == old.fingerprint:
        return True
    before, part = old.definition, dict(new.definition)
    names = {feature["name"] for feature in before["features"]}
    part["features"] = [feature for feature in part["features"] if feature["name"] in names]
    for field in ("derived", "columns"):
        part[field] = {name: text for name, text in part.get(field, {}).items() if name in before.get(field, {})}
    if "source" in part and "source" in before:
        schema = part["source"]["schema"].items()
        kept = {name: dtype for name, dtype in schema if name in before["source"]["schema"]}
        part["source"] = {**part["source"], "schema": kept}
        if "history" in part["source"]:
            part["source"]["history"] = {**part["source"]["history"], "schema": kept}
    try:
        return build_plan(FeatureGroup.from_json({**part, "entity": entity.definition})).fingerprint == old.fingerprint
    except DefinitionErrors:
        return False  # the recorded features now need what was added


def _differences(old: dict[Fact, str], new: dict[Fact, str], same_meaning: bool = False) -> list[Detail]:
    """What differs, in the order of the facts; a part that only one side has is one detail."""
    old_parts, new_parts = _parts(old), _parts(new)
    found: list[Detail] = []
    for key in dict.fromkeys([*old_parts, *new_parts]):
        before, after = old_parts.get(key, {}), new_parts.get(key, {})
        scope, item = key
        part = str(Fact(scope, item, ""))
        if not before:
            rule = added_rule(scope, after.get("default"))
            found.append(_judged(part, None, _described(after), rule, same_meaning))
        elif not after:
            found.append(_judged(part, _described(before), None, removed_rule(scope), same_meaning))
        else:
            for field in dict.fromkeys([*before, *after]):
                if before.get(field) != after.get(field):
                    was, now = before.get(field, NONE), after.get(field, NONE)
                    fact = Fact(scope, item, field)
                    found.append(_judged(str(fact), was, now, changed_rule(fact, was, now), same_meaning))
    return found


def _parts(facts: dict[Fact, str]) -> dict[tuple[str, str], dict[str, str]]:
    parts: dict[tuple[str, str], dict[str, str]] = {}
    for fact, text in facts.items():
        parts.setdefault((fact.scope, fact.item), {})[fact.field] = text
    return parts


def _described(fields: dict[str, str]) -> str:
    """A whole part in one line: "INT, count(), window 30d, default 0"."""
    bare = [
        fields[name] for name in ("", "dtype", "aggregation", "expression", "function", "location") if name in fields
    ]
    named = [f"{name} {fields[name]}" for name in ("window", "where", "default") if name in fields]
    return ", ".join([*bare, *named])


def _judged(what: str, old: str | None, new: str | None, rule: Rule, same_meaning: bool) -> Detail:
    if rule.breaking and rule.unless_same_meaning and same_meaning:
        return Detail(what, old, new, False, SAME_MEANING)
    return Detail(what, old, new, rule.breaking, rule.reason)


def _reordered(what: str, old: tuple[str, ...], new: tuple[str, ...]) -> list[Detail]:
    """A detail if what both have stands in another order."""
    before = [name for name in old if name in new]
    after = [name for name in new if name in old]
    return (
        []
        if before == after
        else [Detail(what, ", ".join(before), ", ".join(after), REORDERED.breaking, REORDERED.reason)]
    )
