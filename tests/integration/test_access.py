"""Tokens, grants and the audit log on a real PostgreSQL: what is kept, who is told, and two writers at once."""

from __future__ import annotations

import select
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg2
import pytest
from sqlalchemy import create_engine, event, inspect, text

from feature_store import FLOAT, INT, Deprecated, Feature, FeatureView, OnDemand, agg
from feature_store.duration import DAY
from feature_store.errors import ConflictError, FeatureStoreError, InputError, NotFoundError, StackError, TokenError
from feature_store.registry.access.audit import CHANNEL
from feature_store.registry.access.decision import Grant, guarded_group, guarded_view
from feature_store.registry.access.store import AccessControl
from feature_store.registry.access.tokens import Principal, hash_of, is_well_formed
from feature_store.registry.migrate import VERSION_TABLE
from feature_store.registry.store import Registry
from feature_store.registry.tables import Base
from tests.integration.registry_setting import applied, orders_group, project, rows, run, shop, written

RANKER = Principal("service", "ranker")
SHOP = Principal("team", "shop")


@pytest.fixture
def access(registry: Registry) -> AccessControl:
    return AccessControl(registry.engine)


def refused(access: AccessControl, secret: str) -> str:
    """The code with which a secret is refused by a server that has just loaded."""
    with pytest.raises(TokenError) as error:
        access.load().authenticate(secret)
    return error.value.code


def acts(access: AccessControl) -> list[tuple[str, str, str]]:
    """Who did what to what, the first act first."""
    return [(entry.by, entry.action, entry.subject) for entry in reversed(access.entries())]


def test_a_token_is_known_by_its_secret_until_it_is_revoked(access: AccessControl) -> None:
    made = access.create_token(
        "ranker", RANKER, "ann", scopes=["read", "write"], model="ranker_v3", expires_in=90 * DAY
    )
    loaded = access.load()
    assert loaded.authenticate(made.secret) == made.token
    token = made.token
    assert (token.name, token.principal, token.scopes, token.model) == (
        "ranker",
        RANKER,
        {"read", "write"},
        "ranker_v3",
    )
    assert (token.created_by, token.revoked_at) == ("ann", None)
    assert token.expires_at == token.created_at + timedelta(days=90)
    assert access.tokens() == (token,)

    revoked = access.revoke_token("ranker", "bob")
    assert refused(access, made.secret) == "token-revoked"
    assert loaded.authenticate(made.secret) == token, "a table is of its moment: servers load again"
    assert access.tokens() == ()
    again = access.create_token("ranker", RANKER, "ann")
    assert (again.token.expires_at, again.token.scopes) == (None, {"read"})
    assert again.token.id != revoked.id
    assert access.load().authenticate(again.secret) == again.token
    assert refused(access, made.secret) == "token-revoked"


def test_an_expired_token_is_refused_and_listed_until_it_is_revoked(access: AccessControl, registry: Registry) -> None:
    made = access.create_token("ranker", RANKER, "ann", expires_in=DAY)
    run(registry, "UPDATE tokens SET expires_at = now() - interval '1 second'")
    assert refused(access, made.secret) == "token-expired"
    assert [token.is_live() for token in access.tokens()] == [False]
    with pytest.raises(ConflictError, match=r"there is a token 'ranker' already .*\./fs token revoke ranker"):
        access.create_token("ranker", RANKER, "ann")
    access.revoke_token("ranker", "ann")
    access.create_token("ranker", RANKER, "ann")


@pytest.mark.parametrize(("column", "code"), [("revoked_at", "token-revoked"), ("expires_at", "token-expired")])
def test_what_ended_long_ago_is_not_loaded(access: AccessControl, registry: Registry, column: str, code: str) -> None:
    made = access.create_token("ranker", RANKER, "ann")
    run(registry, f"UPDATE tokens SET {column} = now() - interval '29 days'")
    assert refused(access, made.secret) == code
    run(registry, f"UPDATE tokens SET {column} = now() - interval '31 days'")
    assert refused(access, made.secret) == "token-unknown"
    assert not access.load().tokens


def test_no_secret_is_in_the_database(access: AccessControl, registry: Registry) -> None:
    made = [access.create_token(f"t{number}", SHOP, "ann") for number in range(3)]
    with registry.engine.connect() as connection:
        tables = inspect(connection).get_table_names()
        assert {"tokens", "audit_log"} < set(tables)
        kept = [
            row for table in tables for row in connection.execute(text(f'SELECT t::text FROM "{table}" t')).scalars()
        ]
    assert any(hash_of(made[0].secret) in row for row in kept)
    for token in made:
        assert is_well_formed(token.secret)
        assert not any(token.secret in row or token.secret.removeprefix("fs_") in row for row in kept)
    with pytest.raises(Exception, match="ck_tokens_secret_hash"):
        run(registry, f"UPDATE tokens SET secret_hash = '{made[0].secret}' WHERE name = 't0'")


def test_wrong_tokens_are_refused_before_anything_is_written(access: AccessControl, registry: Registry) -> None:
    before = written(registry)
    wrong: list[dict[str, Any]] = [
        {"name": " "},
        {"scopes": []},
        {"scopes": ["pii"]},
        {"expires_in": 0},
        {"expires_in": 10_000 * 366 * DAY},
    ]
    for given in wrong:
        with pytest.raises(InputError):
            access.create_token(**{"name": "t", "principal": SHOP, "by": "ann", **given})
    with pytest.raises(NotFoundError, match=r"there is no token 'ranker' to revoke -> tokens are: none"):
        access.revoke_token("ranker", "ann")
    access.create_token("rankers", SHOP, "ann")
    with pytest.raises(NotFoundError, match="did you mean 'rankers'"):
        access.revoke_token("ranker", "ann")
    assert written(registry) == {**before, "tokens": 1, "audit_log": 1}


def test_grants_are_given_once_and_taken_back(access: AccessControl, registry: Registry) -> None:
    applied(registry, shop())
    assert access.grant(RANKER, "read", "user_orders", "ann")
    assert not access.grant(RANKER, "read", "user_orders", "bob")
    assert access.grant(RANKER, "read", "ranking", "ann", kind="view")
    expected = (Grant(RANKER, "group", "user_orders", "read"), Grant(RANKER, "view", "ranking", "read"))
    assert access.grants() == expected
    assert access.load().grants == frozenset(expected)
    access.ungrant(RANKER, "read", "user_orders", "bob")
    assert access.grants() == expected[1:]
    with pytest.raises(
        NotFoundError, match=r"service:ranker has no grant read of the group user_orders.*read view ranking"
    ):
        access.ungrant(RANKER, "read", "user_orders", "bob")
    with pytest.raises(NotFoundError, match=r"no feature group 'user_order' is recorded -> did you mean 'user_orders'"):
        access.grant(RANKER, "read", "user_order", "ann")
    with pytest.raises(NotFoundError, match=r"no feature view 'user_orders' is recorded"):
        access.grant(RANKER, "read", "user_orders", "ann", kind="view")
    with pytest.raises(InputError, match=r"personal data belong to groups, .*-> grant pii of each group"):
        access.grant(RANKER, "pii", "ranking", "ann", kind="view")
    assert acts(access)[1:] == [
        ("ann", "grant", "group user_orders"),
        ("ann", "grant", "view ranking"),
        ("bob", "ungrant", "group user_orders"),
    ]


def at_once(access: AccessControl, act: Callable[[AccessControl, int], object]) -> list[object]:
    """What an act gives, or the error it raises, for each of four who begin it together, by a connection each."""
    start = threading.Barrier(4)

    def attempt(number: int) -> object:
        own = AccessControl(create_engine(access.engine.url))
        start.wait()
        try:
            return act(own, number)
        except FeatureStoreError as error:
            return error.code
        finally:
            own.engine.dispose()

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(attempt, range(4)))


def test_of_many_at_once_one_makes_a_token_and_one_revokes_it(access: AccessControl, registry: Registry) -> None:
    made = at_once(access, lambda own, number: own.create_token("ranker", RANKER, f"writer {number}").token)
    (winner,) = [each for each in made if not isinstance(each, str)]
    assert [each for each in made if isinstance(each, str)] == ["token-exists"] * 3
    assert access.tokens() == (winner,)
    revoked = at_once(access, lambda own, number: own.revoke_token("ranker", f"writer {number}").name)
    assert sorted(map(str, revoked)) == ["no-token"] * 3 + ["ranker"]
    assert rows(registry, "tokens") == 1
    assert [action for _, action, _ in acts(access)] == ["create token", "revoke token"]


def test_of_many_at_once_one_gives_a_grant_and_one_takes_it_back(access: AccessControl, registry: Registry) -> None:
    applied(registry, shop())
    given = at_once(access, lambda own, number: own.grant(SHOP, "write", "item_sales", f"writer {number}"))
    assert sorted(map(str, given)) == ["False"] * 3 + ["True"]
    taken = at_once(access, lambda own, number: own.ungrant(SHOP, "write", "item_sales", f"writer {number}"))
    assert sorted(map(str, taken)) == ["None"] + ["no-grant"] * 3
    assert rows(registry, "grants") == 0
    assert [action for _, action, _ in acts(access)] == ["apply", "grant", "ungrant"]


def test_every_act_leaves_an_entry(access: AccessControl, registry: Registry) -> None:
    passed = Deprecated("user_orders@2", removal="2020-01-31")
    definitions = project(orders_group(deprecated=passed), orders_group(version=2))
    applied(registry, definitions)
    assert applied(registry, definitions) is None  # nothing was done
    registry.retire("user_orders@1", "bob")
    access.create_token("ranker", RANKER, "ann", scopes=["write", "read"], model="ranker_v3", expires_in=DAY)
    access.grant(RANKER, "pii", "user_orders", "ann")
    access.ungrant(RANKER, "pii", "user_orders", "ann")
    access.revoke_token("ranker", "bob")
    access.record("service:ranker", "refused", "view ranking@1", {"columns": ["n"]})
    entries = access.entries()[::-1]
    assert [(entry.by, entry.action, entry.subject) for entry in entries] == [
        ("ann", "apply", "plan #1"),
        ("bob", "retire", "group user_orders@1"),
        ("ann", "create token", "ranker"),
        ("ann", "grant", "group user_orders"),
        ("ann", "ungrant", "group user_orders"),
        ("bob", "revoke token", "ranker"),
        ("service:ranker", "refused", "view ranking@1"),
    ]
    assert entries[0].details["changes"] == [
        "create entity user",
        "create feature group user_orders@1",
        "create feature group user_orders@2",
    ]
    (token,) = access.load().tokens.values()
    assert token.expires_at is not None
    assert entries[2].details == {
        "principal": "service:ranker",
        "scopes": ["read", "write"],
        "model": "ranker_v3",
        "expires_at": token.expires_at.isoformat(),
    }
    assert entries[3].details == {"principal": "service:ranker", "scope": "pii"}
    assert [entry.happened_at for entry in entries] == sorted(entry.happened_at for entry in entries)
    assert access.entries(2) == access.entries()[:2]


FAILING = """
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'disk on fire'; END $$;
CREATE TRIGGER fail BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION fail();
"""


def test_what_cannot_be_logged_is_not_done(access: AccessControl, registry: Registry) -> None:
    applied(registry, shop())
    access.create_token("ranker", RANKER, "ann")
    access.grant(RANKER, "read", "user_orders", "ann")
    run(registry, FAILING)
    before, state = written(registry), registry.state()
    unlogged: list[Callable[[], object]] = [
        lambda: access.create_token("other", RANKER, "ann"),
        lambda: access.revoke_token("ranker", "ann"),
        lambda: access.grant(RANKER, "write", "user_orders", "ann"),
        lambda: access.ungrant(RANKER, "read", "user_orders", "ann"),
        lambda: applied(registry, shop(owner="team:growth")),
    ]
    with listening(registry) as told:
        for act in unlogged:
            with pytest.raises(StackError, match="disk on fire"):
                act()
        run(registry, "DROP TRIGGER fail ON audit_log")
        assert (written(registry), registry.state()) == (before, state)
        assert [token.name for token in access.tokens()] == ["ranker"]
        access.revoke_token("ranker", "ann")
        assert next(told) == "access"
        applied(registry, shop(owner="team:growth"))
        assert next(told) == "definitions", "nothing was told of what was not done"


@contextmanager
def listening(registry: Registry) -> Iterator[Iterator[str]]:
    """What a connection of its own hears on the channel, one payload after the other, as they come."""
    url = registry.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"LISTEN {CHANNEL}")

    def payloads() -> Iterator[str]:
        while True:
            while connection.notifies:
                yield connection.notifies.pop(0).payload
            assert select.select([connection], [], [], 60)[0], "nothing was told within a minute"
            connection.poll()

    try:
        yield payloads()
    finally:
        connection.close()


def test_whoever_listens_is_told_of_every_change(access: AccessControl, registry: Registry) -> None:
    passed = Deprecated("user_orders@2", removal="2020-01-31")
    definitions = project(orders_group(deprecated=passed), orders_group(version=2))
    acts_and_payloads: list[tuple[Callable[[], object], str]] = [
        (lambda: applied(registry, definitions), "definitions"),
        (lambda: access.create_token("ranker", RANKER, "ann"), "access"),
        (lambda: access.grant(RANKER, "read", "user_orders", "ann"), "access"),
        (lambda: registry.retire("user_orders@1", "ann"), "definitions"),
        (lambda: access.ungrant(RANKER, "read", "user_orders", "ann"), "access"),
        (lambda: access.revoke_token("ranker", "ann"), "access"),
    ]
    with listening(registry) as told:
        for act, payload in acts_and_payloads:
            act()
            assert next(told) == payload


def test_a_server_decides_from_the_registry_alone(access: AccessControl, registry: Registry) -> None:
    spent = Feature("user_order_value_mean_90d", agg.mean("amount"), window="90d", dtype=FLOAT, default=1e30, pii=True)
    count = orders_group().features[0]
    derived = {"user_spent_twice": "user_order_value_mean_90d * 2", "user_count_twice": "user_order_count_30d * 2"}
    orders = orders_group(features=[count, spent], derived=derived, access="private")
    doubled = OnDemand("doubled", "user_spent_twice * 2", dtype=FLOAT)
    counted = OnDemand("counted", "user_order_count_30d * 2", dtype=INT)
    ranking = FeatureView("ranking", groups=[orders], owner="team:ranking", on_demand=[doubled, counted])
    applied(registry, project(orders, views=(ranking,)))
    secret = access.create_token("ranker", RANKER, "ann").secret

    def masked() -> frozenset[str] | None:
        """What a server that has just loaded masks of the view; None if it refuses to read it."""
        table, (view, groups) = access.load(), registry.readable("ranking@1")
        decision = table.decide(table.authenticate(secret), "read", guarded_view(view, groups))
        return decision.masked if decision.allowed else None

    assert masked() is None
    access.grant(RANKER, "read", "user_orders", "ann")
    assert masked() == {"user_order_value_mean_90d", "user_spent_twice", "doubled"}
    access.grant(RANKER, "pii", "user_orders", "ann")
    assert masked() == set()
    access.ungrant(RANKER, "read", "user_orders", "ann")
    assert masked() is None

    open_orders = orders_group(features=[count, orders_group().features[1]], derived=derived)
    opened = FeatureView("ranking", groups=[open_orders], owner="team:ranking", on_demand=[doubled, counted])
    access.ungrant(RANKER, "pii", "user_orders", "ann")
    done = applied(registry, project(open_orders, views=(opened,)))
    assert done is not None
    assert [change["id"] for change in done.changes] == ["user_orders@1"]
    assert masked() == set()
    assert guarded_group(registry.group("user_orders@1")).pii == {}


def test_a_load_takes_as_many_statements_for_many_tokens_as_for_none(access: AccessControl, registry: Registry) -> None:
    statements: list[str] = []
    event.listen(registry.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    counts = []
    for size in (0, 20):
        for number in range(size):
            access.create_token(f"t{number}", SHOP, "ann")
        statements.clear()
        assert len(access.load().tokens) == size
        counts.append(len(statements))
    assert counts == [2, 2]


def test_a_registry_from_before_access_is_brought_up_to_it(registry: Registry) -> None:
    definitions = shop()
    applied(registry, definitions)
    fingerprint = registry.state().fingerprint
    run(registry, "DROP TABLE tokens, grants, audit_log")
    run(registry, "ALTER TABLE features DROP COLUMN pii")
    run(registry, "ALTER TABLE feature_groups DROP COLUMN posted")
    run(registry, "DROP TABLE model_features, models, skew_reports, training_jobs")
    run(registry, "ALTER TABLE training_datasets DROP COLUMN group_id")
    run(registry, f"UPDATE {VERSION_TABLE} SET version_num = '0006'")
    registry.upgrade()
    assert set(written(registry)) == set(Base.metadata.tables)
    plan = registry.plan(definitions)
    assert (plan.changes, plan.state_fingerprint) == ((), fingerprint)


def test_a_database_that_does_not_answer_is_one_line() -> None:
    nowhere = AccessControl(create_engine("postgresql+psycopg2://fs:secret@127.0.0.1:1/registry"))
    for call in (nowhere.load, nowhere.tokens, nowhere.grants, nowhere.entries):
        with pytest.raises(StackError, match="the database does not answer") as failed:
            call()
        assert "secret" not in str(failed.value)
