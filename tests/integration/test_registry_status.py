"""Deprecated and retired versions in a real PostgreSQL: what is stored, refused, and kept for the record."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from sqlalchemy import text

from feature_store import Deprecated, FeatureView
from feature_store.duration import DAY
from feature_store.errors import ConflictError, NotFoundError
from feature_store.plan.project import CompiledProject
from feature_store.registry.store import Registry
from feature_store.registry.tables import Status
from tests.integration.registry_setting import applied, orders_group, project, run, written

PASSED = Deprecated("user_orders@2", removal="2020-01-31", reason="counted returns")
NEW = orders_group(version=2)


def shop(deprecated: Deprecated | None = PASSED) -> CompiledProject:
    """Two versions of a group, the first deprecated, and a view that reads it."""
    old = orders_group(deprecated=deprecated)
    return project(old, NEW, views=(FeatureView("ranking", groups=(old,), owner="team:ranking"),))


def stored(registry: Registry, table: str = "feature_groups") -> list[tuple[Any, ...]]:
    with registry.engine.connect() as connection:
        columns = "name, version, status::text, successor, removal_date"
        return [tuple(row) for row in connection.execute(text(f"SELECT {columns} FROM {table} ORDER BY version"))]


def test_status_successor_and_removal_date_are_stored(registry: Registry) -> None:
    applied(registry, shop(None))
    assert [row[2:] for row in stored(registry)] == [("ACTIVE", None, None)] * 2
    done = applied(registry, shop())
    assert done is not None
    assert [change["id"] for change in done.changes] == ["user_orders@1"]
    assert stored(registry)[0][2:] == ("DEPRECATED", "user_orders@2", date(2020, 1, 31))
    record = registry.group("user_orders@1")
    assert (record.status, record.deprecated) == (Status.DEPRECATED, PASSED)
    assert applied(registry, shop()) is None
    applied(registry, shop(None))
    assert [row[2:] for row in stored(registry)] == [("ACTIVE", None, None)] * 2


def test_the_tables_want_a_successor_of_what_is_deprecated(registry: Registry) -> None:
    applied(registry, shop())
    with pytest.raises(Exception, match="ck_feature_groups_deprecation"):
        run(registry, "UPDATE feature_groups SET status = 'DEPRECATED' WHERE version = 2")


def test_a_new_view_of_what_is_deprecated_is_refused_and_the_old_one_goes_on(registry: Registry) -> None:
    applied(registry, shop())
    before = written(registry)
    old = shop().project.groups[0]
    more = FeatureView("ranking", version=2, groups=(old,), owner="team:ranking")
    with pytest.raises(ConflictError, match=r"reads user_orders@1, deprecated, .*-> read user_orders@2"):
        applied(registry, project(*shop().project.groups, views=(*shop().project.views, more)))
    assert written(registry) == before
    moved = FeatureView("ranking", groups=(old,), owner="team:ads")
    assert applied(registry, project(*shop().project.groups, views=(moved,))) is not None


def test_a_version_is_retired_when_its_day_has_come_and_nothing_reads_it(registry: Registry) -> None:
    applied(registry, shop())
    registry.record_usage("ranking@1", "ranker", "training")
    with pytest.raises(ConflictError) as refused:
        registry.retire("user_orders@1", "ann", defined=["user_orders@1"])
    message = str(refused.value)
    assert "still defined" in message
    assert "ranking@1 reads it" in message
    assert "the model ranker used ranking@1 for training" in message
    with pytest.raises(ConflictError, match="user_orders@2 cannot be retired: it is not deprecated"):
        registry.retire("user_orders@2", "ann")
    with pytest.raises(NotFoundError):
        registry.retire("user_orders@3", "ann")

    left = Deprecated("ranking@2", removal="2020-01-31")
    views = [FeatureView("ranking", groups=(shop().project.groups[0],), owner="team:ranking", deprecated=left)]
    views.append(FeatureView("ranking", version=2, groups=(NEW,), owner="team:ranking"))
    applied(registry, project(*shop().project.groups, views=tuple(views)))
    with pytest.raises(ConflictError, match=r"the model ranker used ranking@1 .* within the last 30d"):
        registry.retire("ranking@1", "ann", kind="view", unused_for=30 * DAY)
    run(registry, "UPDATE feature_usage SET last_used_at = now() - interval '31 days'")
    done = registry.retire("ranking@1", "ann", kind="view", unused_for=30 * DAY)
    assert registry.view("ranking@1").status is Status.RETIRED
    assert registry.retire("user_orders@1", "bob", unused_for=30 * DAY).applied_by == "bob"
    assert stored(registry)[0][2:] == ("RETIRED", "user_orders@2", date(2020, 1, 31))
    assert done.changes == (
        {
            "action": "retire",
            "subject": "feature view",
            "id": "ranking@1",
            "details": ["deprecated, successor ranking@2, removal on 2020-01-31"],
        },
    )
    assert [each.plan_id for each in registry.applied()][:2] == [done.plan_id + 1, done.plan_id]
    assert registry.applied()[0].state_fingerprint == registry.state().fingerprint


def test_what_is_retired_stays_retired(registry: Registry) -> None:
    applied(registry, project(*shop().project.groups))
    registry.retire("user_orders@1", "ann")
    with pytest.raises(ConflictError, match=r"user_orders@1: status: RETIRED -> defined again .* version=3"):
        applied(registry, project(*shop().project.groups))
    with pytest.raises(ConflictError, match="it is retired already"):
        registry.retire("user_orders@1", "ann")
    assert registry.plan(project(NEW)).changes == ()


def test_a_plan_made_before_a_retirement_is_refused(registry: Registry) -> None:
    applied(registry, project(*shop().project.groups))
    plan = registry.plan(project(orders_group(version=2, owner="team:growth")))
    registry.retire("user_orders@1", "ann")
    with pytest.raises(ConflictError, match="the registry has changed since this plan was made"):
        registry.apply(plan, "bob")
