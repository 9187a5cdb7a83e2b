"""Groups that were posted to the server, as a part of a project: data of the registry beside the code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from feature_store.dsl.collect import Project
from feature_store.dsl.entity import Entity
from feature_store.dsl.group import FeatureGroup

DOMAIN = "posted"
"""Where Dagster shows these groups, as those of a folder of `feature_defs` under the folder's name."""


@dataclass(frozen=True)
class PostedGroup:
    """A group that is recorded and in no code.

    Args:
        definition: `FeatureGroup.to_json()` with the entity by its name, as of every recorded group.
        entity: the recorded definition of this entity.
        shared: the names of its sources that groups in code are recorded with, as they are here: when the code changes
            such a source, this group reads the changed one, as those groups do.
    """

    definition: Mapping[str, Any]
    entity: Mapping[str, Any]
    shared: frozenset[str] = frozenset()

    @property
    def id(self) -> str:
        """The identity: "user_orders@1"."""
        return f"{self.definition['name']}@{self.definition.get('version', 1)}"

    @property
    def is_streaming(self) -> bool:
        """Whether its events arrive on a topic."""
        return any("topic" in source for source in sources_of(self.definition))

    def group(self, entities: Mapping[str, Entity], sources: Mapping[str, Mapping[str, Any]]) -> FeatureGroup:
        """The definition as a value again.

        Args:
            entities: those of the code, which win over the recorded ones.
            sources: those of the code, as JSON; the shared ones are taken from there.

        Raises:
            DefinitionError: if it was recorded by a version whose definitions were others.
        """
        entity = entities.get(self.definition["entity"])
        whole = {**self.definition, "entity": self.entity if entity is None else entity.to_json()}
        if "source" in whole:
            whole["source"] = self._current(whole["source"], sources)
        if "sources" in whole:
            whole["sources"] = [self._current(source, sources) for source in whole["sources"]]
        return FeatureGroup.from_json(whole)

    def _current(self, source: Mapping[str, Any], sources: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
        return sources.get(source["name"], source) if source["name"] in self.shared else source


def with_posted(project: Project, posted: Iterable[PostedGroup]) -> Project:
    """A project of code and the groups that were posted to the server; one that is in the code, too, is the code's.

    Raises:
        DefinitionError: if a posted group was recorded by a version whose definitions were others.
    """
    defined = {group.id for group in project.groups}
    others = [each for each in posted if each.id not in defined]
    if not others:
        return project
    entities = {group.entity.name: group.entity for group in project.groups}
    sources = single_sources(group.to_json() for group in project.groups)
    groups = [each.group(entities, sources) for each in others]
    return replace(
        project,
        groups=tuple(sorted((*project.groups, *groups), key=lambda group: (group.name, group.version))),
        domains={**project.domains, **{each.id: DOMAIN for each in others}},
        posted=frozenset(each.id for each in others),
    )


def sources_of(definition: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The sources in the JSON form of a group."""
    return [*([definition["source"]] if "source" in definition else []), *definition.get("sources", [])]


def single_sources(definitions: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The sources of several groups by name, as JSON, without those that the groups have different definitions of."""
    found: dict[str, Mapping[str, Any]] = {}
    different = set()
    for definition in definitions:
        for source in sources_of(definition):
            if found.setdefault(source["name"], source) != source:
                different.add(source["name"])
    return {name: source for name, source in found.items() if name not in different}
