"""Recording a group that somebody gives as JSON: the gate of `plan` and `apply`, for one definition."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from feature_store.dsl.collect import Project
from feature_store.dsl.group import FeatureGroup
from feature_store.errors import ConflictError, DefinitionError, DefinitionErrors, choices
from feature_store.plan.build import build_plan
from feature_store.plan.nodes import GroupPlan
from feature_store.plan.project import CompiledProject, group_conflicts
from feature_store.registry.access.decision import Decision, Guarded, guarded_group
from feature_store.registry.access.tokens import Action
from feature_store.registry.changes import Change, RegistryPlan
from feature_store.registry.diff import plan_changes
from feature_store.registry.posted import single_sources, sources_of
from feature_store.registry.posted_sources import check_sources
from feature_store.registry.records import EntityRecord, GroupRecord
from feature_store.registry.snapshot import RegistrySnapshot
from feature_store.registry.store import Registry
from feature_store.registry.tables import Status

Decide = Callable[[Action, Guarded], Decision]
"""Whether whoever registers may do something to a group."""


@dataclass(frozen=True)
class Registration:
    """What registering a group changes.

    Attributes:
        plan: the changes; none if the group is recorded as it is.
        plan_id: the number under which they were applied; None if there were none, or they were only planned.
    """

    group: FeatureGroup
    plan: RegistryPlan
    plan_id: int | None = None

    @property
    def change(self) -> Change | None:
        """The change of the group itself."""
        return next((change for change in self.plan.changes if change.subject == "feature group"), None)


def register_group(registry: Registry, given: Any, by: str, decide: Decide, *, only_plan: bool = False) -> Registration:
    """Records a group that is given as JSON, if it fits what is recorded and nothing breaks.

    It is planned against what is recorded, code and posted groups alike, and nothing else is changed with it.

    Args:
        given: what `FeatureGroup.to_json` writes; its entity and its sources may be the names of recorded ones.
        by: who registers it.
        only_plan: whether to say what would change, and to change nothing.

    Raises:
        DefinitionErrors: with everything that is wrong in it; `where` is a JSON pointer, or names group and feature.
        AccessError: if `decide` refuses: to write a group of this name and owner, or to read what it reads.
        ConflictError: if the group is defined in code, otherwise than here; if a change is breaking, or the group
            retired; if the entity is recorded otherwise; if somebody else changes the registry for too long.
    """
    if only_plan:
        return _planned(registry.snapshot(), given, decide)
    planned: list[Registration] = []

    def plan(snapshot: RegistrySnapshot) -> RegistryPlan:
        planned.append(_planned(snapshot, given, decide))
        return planned[-1].plan

    applied = registry.apply_at_once(plan, by)
    return replace(planned[-1], plan_id=None if applied is None else applied.plan_id)


def _planned(snapshot: RegistrySnapshot, given: Any, decide: Decide) -> Registration:
    live = [group for group in snapshot.groups if group.status is not Status.RETIRED]
    entities = {entity.name: entity for entity in snapshot.entities}
    group = FeatureGroup.parse_json(_with_names_resolved(given, entities, live))
    for guarded in _written(group, snapshot.groups):
        decide("write", guarded).require()
    check_sources(group, snapshot.groups, decide)
    plan = _compiled(group, [record for record in live if record.id != group.id], entities)
    project = Project((group,), (), {}, posted=frozenset([group.id]))
    changes = plan_changes(snapshot.state, CompiledProject(project, {group.id: plan}, {}), snapshot.usage)
    _refuse_others(changes)
    recorded = next((record for record in snapshot.groups if record.id == group.id), None)
    if recorded is not None and not recorded.posted and recorded.status is not Status.RETIRED:
        _refuse_defined_in_code(recorded, group)
        changes = RegistryPlan(changes.state_fingerprint)  # the code's, and as the code has it
    return Registration(group, changes)


def _with_names_resolved(given: Any, entities: Mapping[str, EntityRecord], live: list[GroupRecord]) -> Any:
    """The definition with recorded entities and sources in place of their names."""
    if not isinstance(given, dict):
        raise DefinitionErrors([_mistake("", "a definition is a JSON object", "send what to_json() writes")])
    sources = single_sources(record.definition for record in live)
    errors: list[DefinitionError] = []

    def resolved(name: Any, place: str, known: Mapping[str, Any], noun: str) -> Any:
        if not isinstance(name, str):
            return name
        if name not in known:
            message = f"no {noun} {name!r} is recorded, or groups have different ones of this name"
            errors.append(_mistake(place, message, f"give it whole, or name one: {choices(name, known, f'{noun}s')}"))
        return known.get(name)

    found = dict(given)
    if "entity" in found:
        whole = {name: entity.definition for name, entity in entities.items()}
        found["entity"] = resolved(found["entity"], "/entity", whole, "entity")
    if "source" in found:
        found["source"] = resolved(found["source"], "/source", sources, "source")
    if isinstance(found.get("sources"), list):
        found["sources"] = [
            resolved(name, f"/sources/{place}", sources, "source") for place, name in enumerate(found["sources"])
        ]
    if errors:
        raise DefinitionErrors(errors)
    return found


def _mistake(where: str, message: str, remedy: str) -> DefinitionError:
    return DefinitionError(message, where=where, remedy=remedy, code="not-recorded")


def _written(group: FeatureGroup, recorded: Iterable[GroupRecord]) -> Iterator[Guarded]:
    """What somebody must be allowed to write: the group, and the versions of its name that there are."""
    yield Guarded("group", group.id, group.owner, group.access)
    yield from (guarded_group(record) for record in recorded if record.name == group.name)


def _compiled(group: FeatureGroup, others: list[GroupRecord], entities: Mapping[str, EntityRecord]) -> GroupPlan:
    """The group's plan; it is compared with the others, and what is wrong between these already is not its fault.

    Raises:
        DefinitionErrors: with everything that is wrong in it.
    """
    from feature_store.compile.query_binding import check_queries  # DuckDB takes a while to import

    errors: list[DefinitionError] = []
    plan: GroupPlan | None = None
    try:
        plan = build_plan(group)
        check_queries([plan])
    except DefinitionErrors as error:
        errors += error.errors
    links = _links(group.to_json())
    near = [record for record in others if not links.isdisjoint(_links(record.definition))]
    known = [record.group(entities[record.entity]) for record in near]
    before = {str(error) for error in group_conflicts(known)}
    same_entity = [each for each in known if each.entity == group.entity or each.entity.name != group.entity.name]
    errors += [error for error in group_conflicts([*same_entity, group]) if str(error) not in before]
    if errors or plan is None:
        raise DefinitionErrors(errors)
    return plan


def _links(definition: Mapping[str, Any]) -> set[str]:
    """By what a group may have to do with another one: its id, those that it names, names and places of its sources.

    To make values of all groups takes a second of a server that has 500, and a server has others to answer.
    """
    found = {f"{definition['name']}@{definition.get('version', 1)}"}
    found |= {definition["deprecated"]["successor"]} if "deprecated" in definition else set()
    for source in sources_of(definition):
        found.add(f"events.{source['name']}")  # the event log of a stream, unless it says another one
        for read in (source, source.get("history", {})):
            found |= {read[field] for field in ("name", "of_group", "table", "path", "jdbc") if field in read}
    return found


def _refuse_others(changes: RegistryPlan) -> None:
    """Refuses what would change an entity, which belongs to all its groups."""
    for change in changes.changes:
        if change.subject == "entity" and change.action == "update":
            said = "; ".join(map(str, change.details))
            raise ConflictError(
                f"the entity {change.id!r} is recorded otherwise: {said}",
                where="/entity",
                remedy=f'write "entity": "{change.id}", or give it as it is recorded',
                code="recorded-otherwise",
            )


def _refuse_defined_in_code(recorded: GroupRecord, group: FeatureGroup) -> None:
    if recorded.definition != {**group.to_json(), "entity": group.entity.name}:
        raise ConflictError(
            f"{recorded.id} is defined in code, and otherwise than here",
            remedy="change it there and run ./fs apply, or post another version or name",
            code="defined-in-code",
        )
