"""The definitions that are served: compiled once for each recorded version, looked up without the registry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from feature_store.errors import FeatureStoreError, NotFoundError, choices
from feature_store.online.native.core import NativeCore
from feature_store.online.read.steps import ViewReading
from feature_store.plan.build import build_plan
from feature_store.plan.schema import GroupSchema, ViewedSchema, ViewSchema
from feature_store.plan.view import plan_view
from feature_store.registry.access.decision import Guarded, guarded_group, guarded_view
from feature_store.registry.lifecycle import retired_error
from feature_store.registry.records import EntityRecord, GroupRecord, Kind, UsageRecord, ViewRecord
from feature_store.registry.snapshot import RegistrySnapshot
from feature_store.registry.tables import Status
from serving.models import ServedModels


@dataclass(frozen=True)
class Recorded:
    """A recorded group or view, and what its definition is put together from.

    Attributes:
        groups: those that a view reads, each once; of a group itself.
        entities: of these groups, by name.
    """

    record: GroupRecord | ViewRecord
    groups: tuple[GroupRecord, ...]
    entities: Mapping[str, EntityRecord]

    @property
    def kind(self) -> Kind:
        return "group" if isinstance(self.record, GroupRecord) else "view"


@dataclass(frozen=True)
class ServedView:
    """A recorded view, or a group as a view of itself alone, ready to be read.

    Attributes:
        recorded: what it was compiled from.
        reading: keeps the layouts of its values that were met.
        guarded: what a decision on access has to know of it.
    """

    recorded: Recorded
    reading: ViewReading
    guarded: Guarded

    @cached_property
    def kind(self) -> Kind:
        """Whether it is a group or a view."""
        return self.recorded.kind

    @cached_property
    def view(self) -> ViewSchema:
        """What it reads."""
        return self.reading.view

    @cached_property
    def id(self) -> str:
        """The identity: "ranking@1"."""
        return self.reading.view.id


@dataclass(frozen=True)
class ServedDefinitions:
    """Everything that is recorded, at one moment.

    Attributes:
        snapshot: the records.
        served: what can be read, by kind and id.
        refused: why some of the recorded versions cannot be read, by kind and id.
    """

    snapshot: RegistrySnapshot = field(default_factory=RegistrySnapshot)
    served: Mapping[tuple[Kind, str], ServedView] = field(default_factory=dict)
    refused: Mapping[tuple[Kind, str], FeatureStoreError] = field(default_factory=dict)
    newest: Mapping[tuple[Kind, str], str] = field(default_factory=dict)
    views_of_models: Mapping[str, str] = field(default_factory=dict)
    models: ServedModels = field(default_factory=ServedModels)

    @classmethod
    def of(
        cls,
        snapshot: RegistrySnapshot,
        packages: Sequence[str],
        earlier: ServedDefinitions,
        core: NativeCore | None,
    ) -> ServedDefinitions:
        """Compiles what is recorded; what has not changed since `earlier` is taken from there.

        Args:
            core: reads stored values; None: Python does.
        """
        served: dict[tuple[Kind, str], ServedView] = {}
        refused: dict[tuple[Kind, str], FeatureStoreError] = {}
        schemas: dict[str, GroupSchema] = {}  # several views read a group
        for recorded in _recorded(snapshot):
            key = (recorded.kind, recorded.record.id)
            known = earlier.served.get(key)
            try:
                if recorded.record.status is Status.RETIRED:
                    raise retired_error(recorded.record)
                if known is None or known.recorded != recorded:
                    known = _compiled(recorded, packages, schemas, core)
                served[key] = known
            except FeatureStoreError as error:
                refused[key] = error
        newest = _newest([*served.values()])
        views_of_models = _views_of_models(snapshot.usage, served)
        return cls(snapshot, served, refused, newest, views_of_models, ServedModels(snapshot.models))

    def find(self, kind: Kind, name: str) -> ServedView:
        """The group or view "name@version", or the newest active version of a name.

        Raises:
            NotFoundError: if there is none.
            ConflictError: if it is retired.
            DefinitionError: if it cannot be compiled here.
        """
        wanted = name if "@" in name else self.newest.get((kind, name), name)
        found = self.served.get((kind, wanted))
        if found is not None:
            return found
        if (kind, wanted) in self.refused:
            raise self.refused[kind, wanted].with_traceback(None)  # it is raised again and again, and would grow
        known = [each for of, each in (*self.served, *self.refused) if of == kind]
        near = [each for each in known if each.partition("@")[0] == name.partition("@")[0]]
        raise NotFoundError(
            f"there is no feature {kind} {name!r}",
            remedy=f"recorded are: {', '.join(near)}" if near else choices(name, known[:50], f"feature {kind}s"),
            code="not-recorded",
        )

    def view_of_model(self, model: str) -> ServedView:
        """The view version that a model, which is not registered, is recorded with.

        Raises:
            NotFoundError: if no model of this name is recorded with a view.
        """
        if model not in self.views_of_models:
            raise NotFoundError(
                f"no model {model!r} is recorded with a view",
                remedy=choices(model, list(self.views_of_models)[:50], "models"),
                code="unknown-model",
            )
        return self.find("view", self.views_of_models[model])


def _recorded(snapshot: RegistrySnapshot) -> Iterator[Recorded]:
    """Every group and view."""
    entities = {entity.name: entity for entity in snapshot.entities}
    groups = {group.id: group for group in snapshot.groups}
    records: tuple[GroupRecord | ViewRecord, ...] = (*snapshot.groups, *snapshot.views)
    for record in records:
        ids = [record.id] if isinstance(record, GroupRecord) else dict.fromkeys(record.groups)
        read = tuple(groups[name] for name in ids)
        yield Recorded(record, read, {group.entity: entities[group.entity] for group in read})


def _compiled(
    recorded: Recorded, packages: Sequence[str], schemas: dict[str, GroupSchema], core: NativeCore | None
) -> ServedView:
    """A group or view, ready to be read; `schemas` are those of groups that were compiled already."""
    groups = {group.id: group.group(recorded.entities[group.entity]) for group in recorded.groups}
    for name, group in groups.items():
        if name not in schemas:
            schemas[name] = build_plan(group).schema
    record = recorded.record
    if isinstance(record, GroupRecord):
        view = ViewSchema(record.name, record.version, (ViewedSchema(schemas[record.id]),))
        return ServedView(recorded, ViewReading(view, partial=True, core=core), guarded_group(record))
    definition = record.view(groups)
    view = plan_view(definition, [schemas[role.group.id] for role in definition.viewed], packages)
    return ServedView(recorded, ViewReading(view, partial=True, core=core), guarded_view(record, recorded.groups))


def _newest(served: Sequence[ServedView]) -> dict[tuple[Kind, str], str]:
    """The newest active version of each name; where none is active, the newest."""
    found: dict[tuple[Kind, str], str] = {}
    for each in sorted(served, key=lambda each: (each.recorded.record.status is Status.ACTIVE, each.view.version)):
        found[each.kind, each.view.name] = each.id
    return found


def _views_of_models(usage: Sequence[UsageRecord], served: Mapping[tuple[Kind, str], ServedView]) -> dict[str, str]:
    """The view that each model was said to serve from last; of one that only trains, the view it trained on last."""
    found: dict[str, tuple[tuple[bool, datetime], str]] = {}
    for used in usage:
        if used.kind == "view" and ("view", used.used) in served:
            rank = (used.purpose == "serving", used.first_used_at)
            if used.model not in found or found[used.model][0] < rank:
                found[used.model] = (rank, used.used)
    return {model: view for model, (_, view) in found.items()}
