"""The registry: what is recorded, what would change, applying it, and who uses what."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar

from sqlalchemy import Engine, func, insert, select, update
from sqlalchemy.orm import Session

from feature_store.errors import ConflictError
from feature_store.plan.project import CompiledProject
from feature_store.registry.access.audit import announce, record_act
from feature_store.registry.changes import RegistryPlan
from feature_store.registry.database import open_engine, service_errors, take_turn
from feature_store.registry.diff import plan_changes
from feature_store.registry.lifecycle import UNUSED_FOR, check_retirement
from feature_store.registry.lineage import Lineage, read_lineage, read_training, write_lineage
from feature_store.registry.model_rows import models_reading, read_models
from feature_store.registry.posted import PostedGroup
from feature_store.registry.posted_rows import read_posted
from feature_store.registry.records import (
    AppliedPlan,
    EntityRecord,
    GroupRecord,
    Kind,
    RegistryState,
    TrainingRecord,
    UsageRecord,
    ViewRecord,
)
from feature_store.registry.row_ids import row_id
from feature_store.registry.rows import (
    note_usage,
    read_entities,
    read_groups,
    read_state,
    read_usage,
    read_views,
    write_entities,
    write_groups,
    write_views,
)
from feature_store.registry.snapshot import RegistrySnapshot
from feature_store.registry.tables import (
    AppliedPlanRow,
    FeatureGroupRow,
    FeatureUsageRow,
    FeatureViewGroupRow,
    FeatureViewRow,
    Status,
    TrainingDatasetRow,
)
from feature_store.registry.training_rows import write_training

R = TypeVar("R", EntityRecord, GroupRecord, ViewRecord)


class Registry:
    """The recorded definitions in a PostgreSQL database.

    Args:
        database: SQLAlchemy URL, or an engine that the caller keeps.
        patience: how long a writer waits for another one, as PostgreSQL writes it.

    All methods raise StackError when the database does not answer or has no tables yet.
    """

    def __init__(self, database: str | Engine, *, patience: str = "60s") -> None:
        self.engine = open_engine(database) if isinstance(database, str) else database
        self.patience = patience

    def upgrade(self) -> None:
        """Makes or migrates the tables; does nothing when they are those of this version."""
        from feature_store.registry.migrate import upgrade  # Alembic takes as long as all the rest to import

        upgrade(self.engine)

    def state(self) -> RegistryState:
        """Everything that is recorded, at one moment."""
        with service_errors(self.engine), Session(self.engine) as session:
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            return read_state(session)

    def snapshot(self) -> RegistrySnapshot:
        """Everything that is recorded, and who uses it, at one moment."""
        with service_errors(self.engine), Session(self.engine) as session:
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            return _snapshot(session)

    def all_usage(self) -> tuple[UsageRecord, ...]:
        """What all models said they read, the latest first."""
        with service_errors(self.engine), Session(self.engine) as session:
            return read_usage(session)

    def latest_plan(self) -> int:
        """The number of the plan that was applied last; 0 before the first."""
        with service_errors(self.engine), Session(self.engine) as session:
            return session.scalar(select(func.max(AppliedPlanRow.plan_id))) or 0

    def plan(self, compiled: CompiledProject) -> RegistryPlan:
        """What `apply` would change to record a project.

        Raises:
            DefinitionError: if the project's definitions do not fit together.
        """
        found = self.snapshot()
        return plan_changes(found.state, compiled, found.usage)

    def apply(self, plan: RegistryPlan, applied_by: str) -> AppliedPlan | None:
        """Records all changes of a plan or none; None if there are none, and then nothing is written.

        Whoever listens on `access.audit.CHANNEL` is told.

        Raises:
            ConflictError: if the plan has a breaking change, or the registry is not as it was when the plan was made.
        """
        _refuse_breaking(plan)
        if not plan.changes:
            return None
        with service_errors(self.engine), Session(self.engine) as session, session.begin():
            take_turn(session.connection(), self.patience)
            if read_state(session).fingerprint != plan.state_fingerprint:
                raise ConflictError(
                    "the registry has changed since this plan was made; nothing was applied",
                    remedy="plan again, look at it, then apply",
                    code="registry-moved",
                )
            return _write(session, plan, applied_by)

    def apply_at_once(self, planned: Callable[[RegistrySnapshot], RegistryPlan], applied_by: str) -> AppliedPlan | None:
        """The same of a plan that is made while nobody else can change the registry.

        Args:
            planned: makes the plan from what is recorded; others wait meanwhile. What it raises is raised.

        Raises:
            ConflictError: if the plan has a breaking change.
        """
        with service_errors(self.engine), Session(self.engine) as session, session.begin():
            take_turn(session.connection(), self.patience)
            plan = planned(_snapshot(session))
            _refuse_breaking(plan)
            return _write(session, plan, applied_by) if plan.changes else None

    def groups(self) -> tuple[GroupRecord, ...]:
        """All recorded groups, by name and version."""
        with service_errors(self.engine), Session(self.engine) as session:
            return read_groups(session)

    def group(self, group_id: str) -> GroupRecord:
        """The recorded group "name@version".

        Raises:
            NotFoundError: if there is none; names those there are.
        """
        with service_errors(self.engine), Session(self.engine) as session:
            return read_groups(session, FeatureGroupRow.group_id == row_id(session, group_id, "group"))[0]

    def posted(self) -> tuple[PostedGroup, ...]:
        """The groups that were posted to the server and are not retired, for `posted.with_posted`."""
        return read_posted(self.engine)

    def views(self) -> tuple[ViewRecord, ...]:
        """All recorded views, by name and version."""
        with service_errors(self.engine), Session(self.engine) as session:
            return read_views(session)

    def view(self, view_id: str) -> ViewRecord:
        """The recorded view "name@version".

        Raises:
            NotFoundError: if there is none.
        """
        with service_errors(self.engine), Session(self.engine) as session:
            return read_views(session, FeatureViewRow.view_id == row_id(session, view_id, "view"))[0]

    def readable(self, view_id: str) -> tuple[ViewRecord, tuple[GroupRecord, ...]]:
        """The recorded view "name@version" and the groups it reads, in its order.

        Raises:
            NotFoundError: if there is none.
        """
        with service_errors(self.engine), Session(self.engine) as session:
            key = row_id(session, view_id, "view")
            (view,) = read_views(session, FeatureViewRow.view_id == key)
            read = select(FeatureViewGroupRow.group_id).where(FeatureViewGroupRow.view_id == key)
            groups = {group.id: group for group in read_groups(session, FeatureGroupRow.group_id.in_(read))}
            return view, tuple(groups[name] for name in view.groups)

    def entities(self) -> tuple[EntityRecord, ...]:
        """All recorded entities, by name."""
        with service_errors(self.engine), Session(self.engine) as session:
            return read_entities(session)

    def record_usage(self, used: str, model: str, purpose: str, *, kind: Kind = "view", times: int = 1) -> None:
        """Notes that a model reads a view (or a group) for a purpose, such as "training" or "serving".

        One row is kept for the three of them, with the first and the last time and how often it was said. Meant to be
        said once per job, or now and then by a server with the number of its requests, not per request.

        Args:
            times: how often it read since it was last said.

        Raises:
            NotFoundError: if the view or group is not recorded.
        """
        key = "view_id" if kind == "view" else "group_id"
        with service_errors(self.engine), Session(self.engine) as session, session.begin():
            note_usage(session, key, row_id(session, used, kind), model, purpose, times)

    def record_training(self, made: TrainingRecord) -> None:
        """Records a training dataset; its model, if it has one, as a user of its view or group.

        Raises:
            NotFoundError: if the view or group is not recorded.
        """
        with service_errors(self.engine), Session(self.engine) as session, session.begin():
            write_training(session, made)

    def training_datasets(self, view_id: str) -> tuple[TrainingRecord, ...]:
        """The training datasets that were made of a view, the latest first.

        Raises:
            NotFoundError: if the view is not recorded.
        """
        with service_errors(self.engine), Session(self.engine) as session:
            return read_training(session, TrainingDatasetRow.view_id == row_id(session, view_id, "view"))

    def training_ids(self) -> frozenset[str]:
        """The ids of all training datasets."""
        with service_errors(self.engine), Session(self.engine) as session:
            return frozenset(session.scalars(select(TrainingDatasetRow.dataset_id)))

    def lineage(self, subject: str) -> Lineage:
        """What something comes from, and what comes from it, down to the models.

        Args:
            subject: a feature "user_orders@1/user_order_count_30d" (or an on-demand one of a view), a group or view
                "name@version", a source "orders" or one of its columns "orders.amount".

        Raises:
            NotFoundError: if nothing of this name is recorded.
        """
        with service_errors(self.engine), Session(self.engine) as session:
            return read_lineage(session, subject)

    def usage(self, used: str, *, kind: Kind = "view") -> tuple[UsageRecord, ...]:
        """The models that said they read a view (or a group), the latest first.

        Raises:
            NotFoundError: if the view or group is not recorded.
        """
        column = FeatureUsageRow.view_id if kind == "view" else FeatureUsageRow.group_id
        with service_errors(self.engine), Session(self.engine) as session:
            return read_usage(session, column == row_id(session, used, kind))

    def retire(
        self,
        retired: str,
        by: str,
        *,
        kind: Kind = "group",
        defined: Collection[str] = (),
        unused_for: int = UNUSED_FOR,
    ) -> AppliedPlan:
        """Records a deprecated group or view as gone, for good: nothing trains on it or reads it any more.

        Its rows, offline and online, stay where they are.

        Args:
            retired: the group or view "name@version".
            defined: ids of what the project still defines.
            unused_for: how long no model must have said that it reads it (microseconds).

        Raises:
            NotFoundError: if it is not recorded.
            ConflictError: with what stands against it: a date to come, a view or a model that reads it.
        """
        with service_errors(self.engine), Session(self.engine) as session, session.begin():
            take_turn(session.connection(), self.patience)
            key = row_id(session, retired, kind)
            record: GroupRecord | ViewRecord
            if kind == "view":
                (record,) = read_views(session, FeatureViewRow.view_id == key)
                readers: tuple[ViewRecord, ...] = ()
                used = read_usage(session, FeatureUsageRow.view_id == key)
                gone = update(FeatureViewRow).where(FeatureViewRow.view_id == key)
            else:
                (record,) = read_groups(session, FeatureGroupRow.group_id == key)
                reading = select(FeatureViewGroupRow.view_id).where(FeatureViewGroupRow.group_id == key)
                readers = read_views(session, FeatureViewRow.view_id.in_(reading))
                by_view = FeatureUsageRow.view_id.in_(reading)
                used = read_usage(session, (FeatureUsageRow.group_id == key) | by_view)
                gone = update(FeatureGroupRow).where(FeatureGroupRow.group_id == key)
            models = models_reading(session, kind, key)
            is_defined = retired in defined
            check_retirement(record, readers, used, defined=is_defined, unused_for=unused_for, models=models)
            session.execute(gone.values(status=Status.RETIRED, updated_at=func.now()))
            session.expire_all()
            act = {"action": "retire", "subject": f"feature {kind}", "id": retired, "details": [str(record.deprecated)]}
            done = _record_changes(session, [act], by)
            record_act(session, by, "retire", f"{kind} {retired}", {"plan": done.plan_id})
            announce(session, "definitions")
            return done

    def applied(self) -> tuple[AppliedPlan, ...]:
        """The plans that were applied, the latest first."""
        with service_errors(self.engine), Session(self.engine) as session:
            rows = session.scalars(select(AppliedPlanRow).order_by(AppliedPlanRow.plan_id.desc()))
            return tuple(_applied(row) for row in rows)


def _refuse_breaking(plan: RegistryPlan) -> None:
    if not plan.breaking:
        return
    lines = [
        f"\n  {change.id}: {detail} ({detail.reason}) -> {change.remedy}"
        for change in plan.breaking
        for detail in change.details
        if detail.breaking
    ]
    raise ConflictError(
        f"the plan has breaking changes; nothing was applied:{''.join(lines)}",
        code="breaking-change",
    )


def _snapshot(session: Session) -> RegistrySnapshot:
    state = read_state(session)
    plan_id = session.scalar(select(func.max(AppliedPlanRow.plan_id)))
    usage, models = read_usage(session), read_models(session)
    return RegistrySnapshot(plan_id or 0, state.entities, state.groups, state.views, usage, models)


def _write(session: Session, plan: RegistryPlan, applied_by: str) -> AppliedPlan:
    """Writes the changes of a plan, and tells of them."""
    write_entities(session, _records(plan, EntityRecord))
    write_groups(session, *_created_and_updated(plan, GroupRecord), by=applied_by)
    write_views(session, *_created_and_updated(plan, ViewRecord), by=applied_by)
    write_lineage(session, _records(plan, GroupRecord), _records(plan, ViewRecord))
    session.expire_all()
    done = _record_changes(session, [change.to_json() for change in plan.changes], applied_by)
    ids = [f"{change.action} {change.subject} {change.id}" for change in plan.changes]
    record_act(session, applied_by, "apply", f"plan #{done.plan_id}", {"changes": ids})
    announce(session, "definitions")
    return done


def _records(plan: RegistryPlan, kind: type[R], action: str = "") -> list[R]:
    return [
        change.record for change in plan.changes if isinstance(change.record, kind) and action in ("", change.action)
    ]


def _created_and_updated(plan: RegistryPlan, kind: type[R]) -> tuple[list[R], list[R]]:
    return _records(plan, kind, "create"), _records(plan, kind, "update")


def _record_changes(session: Session, changes: list[dict[str, Any]], applied_by: str) -> AppliedPlan:
    values = {
        "applied_by": applied_by,
        "changes": changes,
        "state_fingerprint": read_state(session).fingerprint,
    }
    row = session.scalars(insert(AppliedPlanRow).values(values).returning(AppliedPlanRow)).one()
    return _applied(row)


def _applied(row: AppliedPlanRow) -> AppliedPlan:
    return AppliedPlan(row.plan_id, row.applied_at, row.applied_by, tuple(row.changes), row.state_fingerprint)
