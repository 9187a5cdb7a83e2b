"""A whole project compiled: every group planned, every view resolved, or all that is wrong in one error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from feature_store.dsl.collect import Project
from feature_store.dsl.entity import Entity
from feature_store.dsl.group import FeatureGroup
from feature_store.dsl.source import BatchSource, StreamSource
from feature_store.dsl.view import FeatureView
from feature_store.errors import DefinitionError, DefinitionErrors
from feature_store.plan.build import build_plan
from feature_store.plan.chain import chain_errors
from feature_store.plan.naming import is_owner, is_snake_case
from feature_store.plan.nodes import GroupPlan
from feature_store.plan.problems import Problem
from feature_store.plan.schema import ViewSchema
from feature_store.plan.view import plan_view


@dataclass(frozen=True)
class CompiledProject:
    """The plans of all groups, by id, and the schemas of all views, by id."""

    project: Project
    groups: dict[str, GroupPlan]
    views: dict[str, ViewSchema]


def compile_project(project: Project) -> CompiledProject:
    """Plans every group and view of a project.

    Raises:
        DefinitionErrors: with everything that is wrong anywhere in it.
    """
    errors: list[DefinitionError] = [*project.errors]
    groups: dict[str, GroupPlan] = {}
    errors += group_conflicts(project.groups) + _duplicates("feature view", project.views)
    errors += _wrong_successors("feature view", project.views)
    defined = {group.id for group in project.groups}
    for group in project.groups:
        try:
            groups[group.id] = build_plan(group)
        except DefinitionErrors as error:
            errors.extend(error.errors)
    views: dict[str, ViewSchema] = {}
    for view in project.views:
        errors += _view_errors(view, defined)
        read = [role.group.id for role in view.viewed]
        if all(group in groups for group in read):
            try:
                views[view.id] = plan_view(view, [groups[group].schema for group in read], project.packages)
            except DefinitionErrors as error:
                errors.extend(error.errors)
    if errors:
        raise DefinitionErrors(errors)
    return CompiledProject(project, groups, views)


def group_conflicts(groups: Sequence[FeatureGroup]) -> list[DefinitionError]:
    """What is wrong between groups, each of which may be right by itself."""
    defined = {group.id: group for group in groups}
    return [
        *_duplicates("feature group", groups),
        *_different_entities(groups),
        *_different_sources(groups),
        *_different_streams(groups),
        *_wrong_successors("feature group", groups),
        *(error for group in groups for error in chain_errors(group, defined)),
    ]


def _duplicates(kind: str, definitions: Sequence[FeatureGroup] | Sequence[FeatureView]) -> list[DefinitionError]:
    """An error for each identity that several definitions have."""
    places: dict[str, list[str]] = {}
    for definition in definitions:
        places.setdefault(definition.id, []).append(definition.place)
    return [
        DefinitionError(
            f"{kind} {id_} is defined {len(where)} times",
            where=", ".join(where),
            remedy="rename one, or give it a new version",
            code="duplicate-name",
        )
        for id_, where in places.items()
        if len(where) > 1
    ]


def _wrong_successors(kind: str, definitions: Sequence[FeatureGroup] | Sequence[FeatureView]) -> list[DefinitionError]:
    """An error for each deprecated definition whose successor is not there to move to."""
    defined = {definition.id: definition for definition in definitions}
    errors = []
    for definition in definitions:
        if definition.deprecated is None:
            continue
        name = definition.deprecated.successor
        successor = defined.get(name)
        if successor is not None and successor.deprecated is None:
            continue
        fault = "is not defined" if successor is None else "is deprecated itself"
        errors.append(
            DefinitionError(
                f"the successor {name!r} of the deprecated {kind} {definition.id} {fault}",
                where=definition.place,
                remedy="name a version that is defined and stays, as 'name@version'",
                code="successor",
            )
        )
    return errors


def _different_entities(groups: Sequence[FeatureGroup]) -> list[DefinitionError]:
    """An error for each name that two different entities have."""
    declared: dict[str, Entity] = {}
    errors: dict[str, DefinitionError] = {}
    for entity in [group.entity for group in groups]:
        other = declared.setdefault(entity.name, entity)
        if other != entity:
            errors[entity.name] = DefinitionError(
                f"entity {entity.name!r} is declared twice, differently",
                where=", ".join(place for place in (other.place, entity.place) if place),
                remedy="declare it once and import it where it is needed",
                code="duplicate-name",
            )
    return list(errors.values())


def _different_sources(groups: Sequence[FeatureGroup]) -> list[DefinitionError]:
    """An error for each name under which sources are read from several places: they would be one asset in Dagster."""
    declared: dict[str, BatchSource | StreamSource] = {}
    errors: dict[str, DefinitionError] = {}
    for source in [source for group in groups for source in (*group.all_sources, group.stream) if source is not None]:
        other = declared.setdefault(source.name, source)
        are_streams = isinstance(source, StreamSource) and isinstance(other, StreamSource)
        if other.location != source.location and not are_streams:
            errors[source.name] = DefinitionError(
                f"two different sources have the name {source.name!r}: {other.location} and {source.location}",
                where=", ".join(place for place in (other.place, source.place) if place),
                remedy="rename one of them",
                code="duplicate-name",
            )
    return list(errors.values())


def _different_streams(groups: Sequence[FeatureGroup]) -> list[DefinitionError]:
    """An error for each name or event log that two different streams share: a log holds the events of one topic."""
    declared: dict[str, StreamSource] = {}
    errors: dict[str, DefinitionError] = {}
    for stream in [group.stream for group in groups if group.stream is not None]:
        for shared in (f"the name {stream.name!r}", f"the event log {stream.log.location}"):
            other = declared.setdefault(shared, stream)
            if other != stream:
                errors[shared] = DefinitionError(
                    f"two different streams have {shared}",
                    where=", ".join(place for place in (other.place, stream.place) if place),
                    remedy="declare the stream once and import it where it is needed",
                    code="duplicate-name",
                )
    return list(errors.values())


def _view_errors(view: FeatureView, defined: set[str]) -> list[DefinitionError]:
    """What is wrong in a view itself; its groups speak for themselves."""
    where = f"{view.place}: view {view.id}" if view.place else f"view {view.id}"
    problems = _view_problems(view, defined)
    return [
        DefinitionError(problem.message, where=where, remedy=problem.remedy, code=problem.code) for problem in problems
    ]


def _view_problems(view: FeatureView, defined: set[str]) -> Iterator[Problem]:
    for group in dict.fromkeys(role.group.id for role in view.viewed):
        if group not in defined:
            yield Problem("unknown-group", f"the group {group} it reads is not defined by itself",
                          "assign the group to a variable of a module in feature_defs")  # fmt: skip
    if not is_snake_case(view.name):
        yield Problem("name", f"the name {view.name!r} is not snake_case", "use lower case letters, digits and _")
    if not is_owner(view.owner):
        yield Problem("owner", f"owner {view.owner!r} is not an owner", "write 'team:name' or an e-mail address")
    if not view.groups:
        yield Problem("no-group", "the view has no groups", "add at least one FeatureGroup")
