"""The registry on a real PostgreSQL: tables, plan and apply, two writers at once, accidents and use."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, create_engine, event, text

from feature_store import FLOAT, INT, STRING, Entity, Feature, FeatureGroup, FeatureView, agg
from feature_store.errors import ConflictError, NotFoundError, StackError
from feature_store.registry.database import take_turn
from feature_store.registry.migrate import VERSION_TABLE, upgrade
from feature_store.registry.records import AppliedPlan
from feature_store.registry.store import Registry
from feature_store.registry.tables import Base, Status
from tests.integration.registry_setting import applied, orders_group, project, rows, run, shop, written


def differences(engine: Engine) -> list[Any]:
    """Between the tables that migrations made and those the code describes."""
    with engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True, "version_table": VERSION_TABLE}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata))


def test_migrations_make_the_tables_that_the_code_describes(registry: Registry) -> None:
    assert differences(registry.engine) == []
    run(registry, "ALTER TABLE features ALTER COLUMN dtype DROP NOT NULL")
    assert len(differences(registry.engine)) == 1  # the comparison does look


def test_every_time_has_a_zone(registry: Registry) -> None:
    statement = "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'public' AND data_type = "
    with registry.engine.connect() as connection:
        assert connection.execute(text(statement + "'timestamp without time zone'")).scalar_one() == 0
        assert connection.execute(text(statement + "'timestamp with time zone'")).scalar_one() == 28


def test_migrating_again_or_at_once_from_many_sides_changes_nothing(registry: Registry) -> None:
    applied(registry, shop())
    before = written(registry)
    upgrade(registry.engine)
    assert written(registry) == before
    run(registry, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    engines = [create_engine(registry.engine.url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(upgrade, engines))
    for engine in engines:
        engine.dispose()
    assert rows(registry, VERSION_TABLE) == 1
    assert differences(registry.engine) == []


def test_a_registry_of_a_newer_version_is_left_alone(registry: Registry) -> None:
    run(registry, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(StackError, match=r"another version of the feature store.*9999.*-> update the feature store"):
        registry.upgrade()


def test_what_was_applied_is_what_is_recorded(registry: Registry) -> None:
    definitions = shop()
    plan = registry.plan(definitions)
    done = registry.apply(plan, "ann")
    assert done is not None
    assert (done.plan_id, done.applied_by, len(done.changes)) == (1, "ann", 5)
    assert done.state_fingerprint == registry.state().fingerprint
    assert registry.applied() == (done,)

    state = registry.state()
    assert {record.id for record in state} == {"item", "user", "item_sales@1", "user_orders@1", "ranking@1"}
    record = registry.group("user_orders@1")
    assert record.group(state.entities[1]) == definitions.project.group("user_orders@1")
    assert (record.status, record.created_by, record.ttl_seconds) == (Status.ACTIVE, "ann", None)
    assert record.created_at is not None
    assert record.created_at.tzinfo is not None
    assert [(feature.name, feature.dtype, feature.default) for feature in record.features] == [
        ("user_order_count_30d", "INT", 0),
        ("user_order_value_mean_90d", "FLOAT", 1e30),
        ("user_zebra", "INT", None),
        ("user_ape_long_name", "INT", None),
    ]
    assert list(record.group(state.entities[1]).derived) == ["user_zebra", "user_ape_long_name"]
    assert registry.view("ranking@1").groups == ("user_orders@1", "item_sales@1")
    assert registry.groups() == state.groups
    assert registry.views() == state.views

    again = registry.plan(definitions)
    assert (again.changes, again.unchanged) == ((), 5)


def test_applying_nothing_writes_nothing(registry: Registry) -> None:
    applied(registry, shop())
    before, state = written(registry), registry.state()
    assert applied(registry, shop()) is None
    assert written(registry) == before
    assert registry.state() == state
    assert [group.updated_at for group in registry.groups()] == [group.created_at for group in registry.groups()]


def test_safe_changes_are_applied_in_place(registry: Registry) -> None:
    applied(registry, shop())
    more = (
        Feature("user_order_value_max_7d", agg.max("amount"), window="7d", dtype=FLOAT, default=0.0),
        *orders_group().features,
    )
    done = applied(registry, shop(owner="team:growth", description="Purchases.", features=more), by="bob")
    assert done is not None
    assert [change["id"] for change in done.changes] == ["user_orders@1"]
    record = registry.group("user_orders@1")
    assert (record.owner, record.description, record.created_by) == ("team:growth", "Purchases.", "ann")
    assert record.created_at is not None
    assert record.updated_at is not None
    assert record.updated_at > record.created_at
    assert list(record.columns) == [
        "user_order_value_max_7d",
        "user_order_count_30d",
        "user_order_value_mean_90d",
        "user_zebra",
        "user_ape_long_name",
    ]
    assert registry.plan(shop(owner="team:growth", description="Purchases.", features=more)).changes == ()


def test_a_changed_view_and_entity_are_recorded_anew(registry: Registry) -> None:
    definitions = shop()
    applied(registry, definitions)
    orders, sales = (definitions.project.group(name) for name in ("user_orders@1", "item_sales@1"))
    user = Entity("user", join_key="user_id", dtype=STRING, description="A customer.")
    described = FeatureGroup.from_json({**orders.to_json(), "entity": user.to_json()})
    swapped = FeatureView("ranking", groups=(sales, described), owner="team:ads")
    done = applied(registry, project(described, sales, views=(swapped,)))
    assert done is not None
    assert [change["id"] for change in done.changes] == ["user", "ranking@1"]
    view = registry.view("ranking@1")
    assert (view.owner, view.groups) == ("team:ads", ("item_sales@1", "user_orders@1"))
    assert registry.state().entities[1].description == "A customer."


def test_a_breaking_change_is_refused_with_what_why_and_the_remedy(registry: Registry) -> None:
    applied(registry, shop())
    before = written(registry)
    count = Feature("user_order_count_30d", agg.count(), window="30d", dtype=INT, default=1)
    features = [count, orders_group().features[1]]
    with pytest.raises(ConflictError) as refused:
        applied(registry, shop(features=features, owner="team:growth", availability_delay="2h"))
    message = str(refused.value)
    assert "user_orders@1: availability_delay: 0s -> 2h (training would see other rows)" in message
    assert "user_orders@1: feature user_order_count_30d: default: 0 -> 1" in message
    assert "define the change with version=2" in message
    assert written(registry) == before
    assert registry.group("user_orders@1").owner == "team:shop"

    done = applied(registry, project(*shop().project.groups, orders_group(version=2, features=features)))
    assert done is not None
    assert [group.id for group in registry.groups()] == ["item_sales@1", "user_orders@1", "user_orders@2"]


def test_what_is_no_longer_defined_stays(registry: Registry) -> None:
    applied(registry, shop())
    before = written(registry)
    plan = registry.plan(project(orders_group()))
    assert plan.no_longer_defined == ("item", "item_sales@1", "ranking@1")
    assert registry.apply(plan, "ann") is None
    assert written(registry) == before


def test_a_plan_of_yesterday_is_refused(registry: Registry) -> None:
    plan = registry.plan(shop())
    applied(registry, project(orders_group("user_other")))
    with pytest.raises(ConflictError, match=r"the registry has changed since this plan was made.*-> plan again"):
        registry.apply(plan, "bob")
    assert [group.id for group in registry.groups()] == ["user_other@1"]


@pytest.mark.parametrize("same", [True, False], ids=["the same plan", "different plans"])
def test_of_two_at_once_one_wins_and_one_is_told(registry: Registry, same: bool) -> None:
    plans = [registry.plan(project(orders_group("user_orders" if same else f"user_orders_{side}"))) for side in "ab"]
    start = threading.Barrier(2)

    def attempt(number: int) -> AppliedPlan | ConflictError | None:
        own = Registry(create_engine(registry.engine.url))
        start.wait()
        try:
            return own.apply(plans[number], f"writer {number}")
        except ConflictError as error:
            return error
        finally:
            own.engine.dispose()

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(attempt, range(2)))
    winners = [outcome for outcome in outcomes if isinstance(outcome, AppliedPlan)]
    losers = [outcome for outcome in outcomes if isinstance(outcome, ConflictError)]
    assert (len(winners), len(losers)) == (1, 1)
    assert losers[0].code == "registry-moved"
    assert rows(registry, "applied_plans") == rows(registry, "feature_groups") == 1
    assert registry.groups()[0].created_by == winners[0].applied_by


def test_a_writer_that_does_not_finish_is_not_waited_for_for_ever(registry: Registry) -> None:
    plan = registry.plan(shop())
    hasty = Registry(registry.engine, patience="100ms")
    with registry.engine.connect() as other:
        take_turn(other)
        with pytest.raises(ConflictError, match="another process is changing the registry"):
            hasty.apply(plan, "ann")
        other.rollback()
    assert hasty.apply(plan, "ann") is not None


ACCIDENTS = {
    "error": "RAISE EXCEPTION 'disk on fire';",
    "death of the server process": "PERFORM pg_terminate_backend(pg_backend_pid());",
}
FAILING = """
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {action} RETURN NEW; END $$;
CREATE TRIGGER fail BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION fail();
"""


@pytest.mark.parametrize("table", ["features", "feature_view_groups", "applied_plans"])
@pytest.mark.parametrize("action", ACCIDENTS.values(), ids=ACCIDENTS)
def test_a_failure_midway_leaves_nothing(registry: Registry, table: str, action: str) -> None:
    run(registry, FAILING.format(action=action, table=table))
    before = written(registry)
    with pytest.raises(StackError) as failed:
        applied(registry, shop())
    assert "\n" not in str(failed.value)
    assert "disk on fire" in str(failed.value) or "does not answer" in str(failed.value)
    assert written(registry) == before
    run(registry, f"DROP TRIGGER fail ON {table}")
    assert applied(registry, shop()) is not None


def test_a_value_that_the_tables_refuse_is_a_conflict(registry: Registry) -> None:
    plan = registry.plan(shop())
    broken = tuple(
        replace(change, record=replace(change.record, entity="nobody")) if change.id == "user_orders@1" else change
        for change in plan.changes
    )
    with pytest.raises(ConflictError, match="fk_feature_groups_entity_type"):
        registry.apply(replace(plan, changes=broken), "ann")
    assert rows(registry, "entity_types") == 0


def test_use_is_counted_per_model_and_purpose(registry: Registry) -> None:
    applied(registry, shop())
    for purpose in ("training", "training", "serving"):
        registry.record_usage("ranking@1", "ranker", purpose)
    registry.record_usage("user_orders@1", "churn", "training", kind="group")
    serving, training = registry.usage("ranking@1")
    assert [(used.used, used.kind, used.model, used.purpose, used.uses) for used in (serving, training)] == [
        ("ranking@1", "view", "ranker", "serving", 1),
        ("ranking@1", "view", "ranker", "training", 2),
    ]
    assert training.first_used_at < training.last_used_at
    (churn,) = registry.usage("user_orders@1", kind="group")
    assert (churn.model, churn.uses) == ("churn", 1)
    assert registry.usage("item_sales@1", kind="group") == ()
    for ask in (registry.usage, lambda view: registry.record_usage(view, "ranker", "training")):
        with pytest.raises(NotFoundError, match="no feature view 'user_orders@1'"):
            ask("user_orders@1")


def test_a_plan_and_its_record_name_the_models_that_a_change_touches(registry: Registry) -> None:
    applied(registry, shop())
    registry.record_usage("ranking@1", "ranker", "serving")
    registry.record_usage("user_orders@1", "churn", "training", kind="group")
    done = applied(registry, shop(owner="team:growth"))
    assert done is not None
    assert done.changes[0]["impact"] == {"views": ["ranking@1"], "models": ["churn", "ranker"]}
    assert registry.applied()[0] == done


def test_use_noted_from_many_sides_at_once_is_counted_once_each(registry: Registry) -> None:
    applied(registry, shop())
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: registry.record_usage("ranking@1", "ranker", "serving"), range(20)))
    assert [used.uses for used in registry.usage("ranking@1")] == [20]


def test_what_is_not_recorded_is_named_beside_what_is(registry: Registry) -> None:
    with pytest.raises(NotFoundError, match=r"nothing is recorded yet: run \./fs apply"):
        registry.group("user_orders@1")
    applied(registry, shop())
    with pytest.raises(NotFoundError, match=r"no feature group 'user_orders@7' .* recorded are: user_orders@1 \["):
        registry.group("user_orders@7")
    with pytest.raises(NotFoundError, match=r"no feature view 'rankin@1' .* recorded are: ranking@1 \["):
        registry.view("rankin@1")
    for vague in ("user_orders", "user_orders@", "@1", "user_orders@one"):
        with pytest.raises(NotFoundError, match="write name@version"):
            registry.group(vague)


def test_a_database_that_does_not_answer_is_one_line_without_password() -> None:
    nowhere = Registry("postgresql+psycopg2://fs:secret@127.0.0.1:1/registry")
    calls: list[Callable[[], object]] = [nowhere.state, nowhere.upgrade, nowhere.groups, lambda: nowhere.view("a@1")]
    for call in calls:
        with pytest.raises(StackError, match=r":1/registry: the database does not answer.* -> start it") as failed:
            call()
        assert "secret" not in str(failed.value)
        assert "\n" not in str(failed.value)


def test_a_database_without_tables_says_how_to_make_them(registry: Registry) -> None:
    run(registry, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    with pytest.raises(StackError, match=r"the registry has no tables yet -> run \./fs apply"):
        registry.state()


def test_a_restarted_server_is_not_noticed(registry: Registry) -> None:
    applied(registry, shop())
    with create_engine(registry.engine.url).connect() as other:
        others = "pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        assert other.execute(text(f"SELECT count(pg_terminate_backend(pid)) FROM {others}")).scalar_one() == 1
    assert len(registry.groups()) == 2


def test_five_hundred_groups_take_as_many_statements_as_five(registry: Registry) -> None:
    """How long they take is measured by `benchmarks.registry`."""
    statements = Counter[str]()
    event.listen(registry.engine, "before_cursor_execute", lambda *_: statements.update([at_work]))
    recorded = 0
    for size in (5, 500):
        groups = [orders_group(f"user_orders_{number}") for number in range(size)]
        views = tuple(FeatureView(f"view_{n}", groups=(groups[n],), owner="team:shop") for n in range(size // 5))
        everything, at_work = size + size // 5 + 1, f"apply {size}"
        done = applied(registry, project(*groups, views=views))
        assert done is not None
        assert len(done.changes) == everything - recorded
        at_work = f"plan {size}"
        unchanged = registry.plan(project(*groups, views=views))
        assert (unchanged.changes, unchanged.unchanged) == ((), everything)
        recorded = everything
    assert statements["plan 500"] == statements["plan 5"]
    assert statements["apply 500"] <= statements["apply 5"] + 10, "rows are written in batches"
