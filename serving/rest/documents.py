"""What the routes that show things answer with; the OpenAPI document describes these types."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from feature_store.registry.model_records import ModelFeature
from feature_store.registry.records import EntityRecord, GroupRecord, UsageRecord, ViewRecord
from feature_store.remote.schema import ViewDocument
from serving.dagster import Reload

Outcome = Literal["planned", "created", "updated", "unchanged"]


class VersionSummary(msgspec.Struct):
    """A version of a group or a view; `successor` is what a deprecated one names."""

    id: str
    name: str
    version: int
    owner: str
    status: str
    description: str
    successor: str | None


class GroupSummary(VersionSummary):
    """A version of a group."""

    entity: str


class ViewSummary(VersionSummary):
    """A version of a view, and the groups that it reads."""

    groups: tuple[str, ...]


class FeatureSummary(msgspec.Struct):
    """A feature of a group; the default of a TIMESTAMP is its ISO text."""

    feature: str
    group: str
    dtype: str
    default: Any
    description: str
    owner: str
    status: str


class EntityPage(msgspec.Struct):
    """Some of the entities, and how many there are."""

    entities: list[EntityRecord]
    total: int


class GroupPage(msgspec.Struct):
    """Some of the groups that were asked for, and how many there are."""

    feature_groups: list[GroupSummary]
    total: int


class ViewPage(msgspec.Struct):
    """Some of the views that were asked for, and how many there are."""

    feature_views: list[ViewSummary]
    total: int


class FeaturePage(msgspec.Struct):
    """Some of the features that were asked for, and how many there are."""

    features: list[FeatureSummary]
    total: int


class GroupDetail(msgspec.Struct):
    """What is told of a group besides its record.

    Attributes:
        views: that read it.
        schema: what readers have to know to read it; None if it is not served.
    """

    id: str
    views: list[str]
    schema: ViewDocument | None


class ViewDetail(msgspec.Struct):
    """What is told of a view besides its record; `schema` as of a group."""

    id: str
    schema: ViewDocument | None


class ModelSummary(msgspec.Struct):
    """A version of a model, the version of the view that it reads, and the training dataset that it was trained on."""

    id: str
    name: str
    version: int
    view: str
    owner: str
    dataset: str | None
    created_by: str
    created_at: datetime | None
    retired_at: datetime | None


class ModelPage(msgspec.Struct):
    """Some of the models that were asked for, and how many there are."""

    models: list[ModelSummary]
    total: int


class ModelDetail(ModelSummary):
    """A version of a model with the features that it reads, in its order."""

    features: tuple[ModelFeature, ...]
    uri: str


class ModelVersions(msgspec.Struct):
    """All versions of a model."""

    name: str
    versions: list[ModelSummary]


class Versions(msgspec.Struct):
    """All versions of a name."""

    name: str
    versions: list[VersionSummary]


class Usage(msgspec.Struct):
    """The models that read a group or a view."""

    id: str
    usage: tuple[UsageRecord, ...]


class RegistrationAnswer(msgspec.Struct, omit_defaults=True):
    """What became of a posted group.

    Attributes:
        definition: as it is recorded, or would be.
        plan: the number of the plan that was applied.
        dagster: whether Dagster has loaded it.
        to_code: how it becomes code.
    """

    id: str
    url: str
    outcome: Outcome
    changes: list[dict[str, Any]]
    definition: dict[str, Any]
    plan: int | None = None
    dagster: Reload | None = None
    to_code: str | None = None


class Readiness(msgspec.Struct, omit_defaults=True):
    """Whether requests should be sent here, and why not."""

    ready: bool
    reason: str = ""


class Health(msgspec.Struct):
    """What works and what does not."""

    status: Literal["ok", "degraded"]
    redis: dict[str, Any]
    registry: dict[str, Any]
    definitions: dict[str, Any]


RECORDED: dict[type[msgspec.Struct], type] = {GroupDetail: GroupRecord, ViewDetail: ViewRecord}
"""The records that are told with these."""


class SkewHistory(msgspec.Struct):
    """The newest skew reports of a view, or of a group's features in the views that read it, the newest first."""

    id: str
    reports: list[dict[str, Any]]
