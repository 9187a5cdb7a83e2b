"""What the registry holds, as plain values: the recorded definitions, and the state they make together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

from feature_store.dsl.access import Access
from feature_store.dsl.deprecation import Deprecated
from feature_store.dsl.group import FeatureGroup
from feature_store.dsl.view import FeatureView
from feature_store.errors import NotFoundError
from feature_store.registry.tables import Status

Kind = Literal["view", "group"]
Origins = dict[str, tuple[tuple[str, str], ...]]
"""For each feature what it is computed from, sorted: source and column, or of an on-demand one group and feature."""


@dataclass(frozen=True)
class EntityRecord:
    """A recorded entity; `definition` is what `Entity.from_json` reads."""

    name: str
    join_key: str
    dtype: str
    description: str
    definition: dict[str, Any]

    @property
    def id(self) -> str:
        """The identity: an entity has no versions, so its name."""
        return self.name


@dataclass(frozen=True)
class FeatureRecord:
    """A recorded column of a group; `default` is a JSON value, an instant its ISO text.

    `pii` follows from the definition, as origins do, and is no part of the state.
    """

    name: str
    dtype: str
    default: Any = None
    description: str = ""
    pii: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class GroupRecord:
    """A recorded version of a feature group.

    `definition` is `FeatureGroup.to_json()` with the entity by its name; `features` are all columns in order,
    derived ones included. `posted` is whether the definition is kept here alone, because it was posted to the server;
    otherwise it is in the code. Who recorded it and when is known once it is recorded, and is no part of the state;
    nor are `origins`, the source columns of each feature that has any, which follow from the definition.
    """

    name: str
    version: int
    entity: str
    owner: str
    description: str
    ttl_seconds: int | None
    definition: dict[str, Any]
    features: tuple[FeatureRecord, ...]
    fingerprint: str
    status: Status = Status.ACTIVE
    posted: bool = False
    origins: Origins = field(default_factory=dict, compare=False)
    created_by: str = field(default="", compare=False)
    created_at: datetime | None = field(default=None, compare=False)
    updated_at: datetime | None = field(default=None, compare=False)

    @property
    def id(self) -> str:
        """The identity: "user_orders@1"."""
        return f"{self.name}@{self.version}"

    @property
    def columns(self) -> dict[str, str]:
        """The type of each feature, in order."""
        return {feature.name: feature.dtype for feature in self.features}

    @property
    def pii(self) -> frozenset[str]:
        """The features that are personal data, or derived from some."""
        return frozenset(feature.name for feature in self.features if feature.pii)

    @property
    def access(self) -> Access:
        """Who may read it besides its owner."""
        return _access(self.definition)

    @property
    def deprecated(self) -> Deprecated | None:
        """What comes after it and when it may go, if it is to be left behind."""
        return _deprecated(self.definition)

    def group(self, entity: EntityRecord) -> FeatureGroup:
        """The definition as a value again."""
        return FeatureGroup.from_json({**self.definition, "entity": entity.definition})


@dataclass(frozen=True)
class Reading:
    """How a recorded view reads a group: in which role, keyed by what, which features; None where it does not say."""

    group: str
    features: tuple[str, ...] | None
    key: tuple[str, ...] | None
    prefix: str

    @property
    def id(self) -> str:
        """What the view calls the group: "user_orders@1", with the prefix before it."""
        return f"{self.prefix}{self.group}"

    def __str__(self) -> str:
        """For people: "seller_user_orders@1 (user_orders@1 keyed by seller_id)"."""
        said = [self.group] if self.prefix else []
        said += [f"keyed by {', '.join(self.key)}"] if self.key is not None else []
        return f"{self.id} ({' '.join(said)})" if said else self.id


@dataclass(frozen=True)
class ViewRecord:
    """A recorded version of a feature view; `definition` is `FeatureView.to_json()` with the groups by their ids.

    `groups` are the ids of what it reads, one for each role; `origins` the stored features of each on-demand feature
    that has any.
    """

    name: str
    version: int
    groups: tuple[str, ...]
    owner: str
    description: str
    definition: dict[str, Any]
    fingerprint: str
    status: Status = Status.ACTIVE
    origins: Origins = field(default_factory=dict, compare=False)
    created_by: str = field(default="", compare=False)
    created_at: datetime | None = field(default=None, compare=False)
    updated_at: datetime | None = field(default=None, compare=False)

    @property
    def id(self) -> str:
        """The identity: "ranking@1"."""
        return f"{self.name}@{self.version}"

    @property
    def readings(self) -> tuple[Reading, ...]:
        """How it reads each of its groups, in order."""
        given = [{"group": one} if isinstance(one, str) else one for one in self.definition["groups"]]
        return tuple(
            Reading(
                group=one["group"],
                features=tuple(one["features"]) if "features" in one else None,
                key=tuple(one["key"]) if "key" in one else None,
                prefix=one.get("prefix", ""),
            )
            for one in given
        )

    def view(self, groups: Mapping[str, FeatureGroup]) -> FeatureView:
        """The definition as a value again; `groups` are those it reads, by id."""
        whole = {group: groups[group].to_json() for group in self.groups}
        given = [
            whole[one] if isinstance(one, str) else {**one, "group": whole[one["group"]]}
            for one in self.definition["groups"]
        ]
        return FeatureView.from_json({**self.definition, "groups": given})

    @property
    def on_demand(self) -> list[dict[str, Any]]:
        """The definitions of the on-demand features, in order."""
        found: list[dict[str, Any]] = self.definition.get("on_demand", [])
        return found

    @property
    def access(self) -> Access:
        """Who may read it besides its owner, if its groups allow it."""
        return _access(self.definition)

    @property
    def deprecated(self) -> Deprecated | None:
        """What comes after it and when it may go, if it is to be left behind."""
        return _deprecated(self.definition)


Record = EntityRecord | GroupRecord | ViewRecord


@dataclass(frozen=True)
class UsageRecord:
    """A model that said it reads a view or a group: since when, when last, and how many times it said so."""

    used: str
    kind: Kind
    model: str
    purpose: str
    first_used_at: datetime
    last_used_at: datetime
    uses: int


@dataclass(frozen=True)
class TrainingRecord:
    """A training dataset that was made of a view, or of a group by itself, for a model (None: not said), with what
    makes it again.

    Attributes:
        kind: what `view` is the id of.
    """

    id: str
    name: str
    view: str
    model: str | None
    row_count: int
    snapshots: dict[str, int | None]
    labels_hash: str
    engine: str
    known_by: str | None
    path: str
    created_at: datetime
    kind: Kind = "view"


@dataclass(frozen=True)
class AppliedPlan:
    """A plan that was applied, as kept for the record."""

    plan_id: int
    applied_at: datetime
    applied_by: str
    changes: tuple[dict[str, Any], ...]
    state_fingerprint: str


@dataclass(frozen=True)
class RegistryState:
    """All that is recorded (or, of a project, would be), in the order of names and versions."""

    entities: tuple[EntityRecord, ...] = ()
    groups: tuple[GroupRecord, ...] = ()
    views: tuple[ViewRecord, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change when anything recorded changes; a plan remembers them."""
        digest = hashlib.sha256()
        for record in self:
            digest.update(json.dumps([type(record).__name__, _stated(record)], default=_stated).encode())
        return digest.hexdigest()[:16]

    def __iter__(self) -> Iterator[Record]:
        yield from self.entities
        yield from self.groups
        yield from self.views


_CIRCUMSTANCES = ("origins", "pii", "created_by", "created_at", "updated_at")


def _stated(record: Record | FeatureRecord) -> dict[str, Any]:
    """What a record says of the definition itself; of one in code the same as before there were others."""
    left_out = _CIRCUMSTANCES if getattr(record, "posted", False) else (*_CIRCUMSTANCES, "posted")
    return {name: value for name, value in vars(record).items() if name not in left_out}


def _access(definition: dict[str, Any]) -> Access:
    return "private" if definition.get("access") == "private" else "public"


def _deprecated(definition: dict[str, Any]) -> Deprecated | None:
    return Deprecated.from_json(definition["deprecated"]) if "deprecated" in definition else None


def name_and_version(definition_id: str) -> tuple[str, int]:
    """The parts of "user_orders@1".

    Raises:
        NotFoundError: if the text is not of that form.
    """
    name, _, version = definition_id.partition("@")
    if not name or not (version.isascii() and version.isdigit()):
        raise NotFoundError(
            f"{definition_id!r} does not say which version",
            remedy="write name@version, such as 'user_orders@1'",
            code="id",
        )
    return name, int(version)
