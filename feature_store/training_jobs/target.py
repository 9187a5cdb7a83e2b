"""What a training dataset is made of: a recorded view, or a group by itself, and what may be seen of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from feature_store.dsl.packages import DEFINITION_PACKAGES
from feature_store.dsl.view import FeatureView
from feature_store.errors import TokenError
from feature_store.plan.build import build_plan, view_schema
from feature_store.plan.schema import ViewedSchema, ViewSchema
from feature_store.registry.access.decision import Guarded, guarded_group, guarded_view
from feature_store.registry.access.store import AccessControl
from feature_store.registry.lifecycle import retired_error
from feature_store.registry.records import GroupRecord, Kind, ViewRecord
from feature_store.registry.store import Registry
from feature_store.registry.tables import Status
from feature_store.training_jobs.request import Asker


@dataclass(frozen=True)
class TrainingTarget:
    """A view as labels are joined with it.

    Attributes:
        record: of the view, or of the group.
        recorded: the definition of the view; of a group by itself, a view of it.
        groups: those that it reads.
        guarded: what a decision on access has to know.
    """

    kind: Kind
    view: ViewSchema
    recorded: FeatureView
    record: GroupRecord | ViewRecord
    groups: tuple[GroupRecord, ...]
    guarded: Guarded

    @property
    def definition(self) -> str:
        """Another text for another definition, of the view or of what it reads."""
        columns = [f"{column.name} {column.dtype}" for column in self.view.outputs]
        parts = [self.record.fingerprint, *(group.fingerprint for group in self.groups), *columns]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def load_target(
    registry: Registry, kind: Kind, target_id: str, packages: Sequence[str] = DEFINITION_PACKAGES
) -> TrainingTarget:
    """The recorded view or group "name@version".

    Args:
        packages: those that functions of on-demand features may be imported from.

    Raises:
        NotFoundError: if it is not recorded.
        ConflictError: if it is retired.
        DefinitionError: if it cannot be compiled here.
    """
    record: GroupRecord | ViewRecord
    if kind == "group":
        record = registry.group(target_id)
        groups: tuple[GroupRecord, ...] = (record,)
    else:
        record, groups = registry.readable(target_id)
    if record.status is Status.RETIRED:
        raise retired_error(record)
    entities = {entity.name: entity for entity in registry.entities()}
    definitions = {group.id: group.group(entities[group.entity]) for group in groups}
    if isinstance(record, GroupRecord):
        schema = build_plan(definitions[record.id]).schema
        view = ViewSchema(record.name, record.version, (ViewedSchema(schema),))
        recorded = FeatureView(
            record.name, version=record.version, groups=(definitions[record.id],), owner=record.owner
        )
        return TrainingTarget(kind, view, recorded, record, groups, guarded_group(record))
    recorded = record.view(definitions)
    view = view_schema(recorded, sorted(packages))
    return TrainingTarget(kind, view, recorded, record, groups, guarded_view(record, groups))


def masked_for(access: AccessControl, asker: Asker | None, target: TrainingTarget) -> frozenset[str]:
    """The features that whoever asked must not see at this moment.

    Raises:
        TokenError: if its token is not good any more.
        AccessError: if it must not read the view at all.
        StackError: if the registry does not answer.
    """
    if asker is None:
        return frozenset()
    table = access.load()
    token = next((token for token in table.tokens.values() if token.id == asker.id), None)
    if token is None or not token.is_live():
        raise TokenError(
            f"the token {asker.name} that asked for the dataset was revoked, or has expired",
            remedy="ask again with a token that is good: ./fs token create",
            code="token-revoked",
        )
    return table.masked(token, target.guarded)
