"""Registering groups over HTTP: on the real server and registry, beside definitions in code."""

from __future__ import annotations

import json
import re
import shlex
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from click.testing import CliRunner

from feature_store.dsl.collect import Project, load_project
from feature_store.dsl.group import FeatureGroup
from feature_store.errors import ConflictError, DefinitionErrors
from feature_store.plan.project import CompiledProject, compile_project
from feature_store.registry import commands
from feature_store.registry.access.decision import Decision
from feature_store.registry.access.store import AccessControl
from feature_store.registry.access.tokens import Principal
from feature_store.registry.posted import with_posted
from feature_store.registry.registration import register_group
from feature_store.registry.store import Registry
from feature_store.registry.tables import Status
from feature_store.settings import REPOSITORY, Settings
from serving.rest.route_docs import ROUTES
from tests.conftest import Eventually
from tests.integration.registry_setting import run
from tests.integration.serving.conftest import POSTING_DATABASE, NewRegistry
from tests.integration.serving.posting import COUNT, LOG, TRIPS, post, told, trips
from tests.integration.serving.server_process import ServerProcess
from tests.integration.serving.shop import GROUPS, USERS, VIEWS


@pytest.fixture
def server(posting_server: ServerProcess, posting_registry: Registry) -> Iterator[ServerProcess]:
    """The server; nothing stays posted from one test to the next."""
    yield posting_server
    run(posting_registry, "DELETE FROM feature_groups WHERE posted OR name LIKE 'user_trip%'")


@pytest.fixture
def registry(posting_registry: Registry) -> Registry:
    return posting_registry


def code(*added: FeatureGroup, groups: tuple[FeatureGroup, ...] = GROUPS) -> Project:
    return Project((*groups, *added), VIEWS, {})


def planned(registry: Registry, project: Project) -> CompiledProject:
    """The project as plan and apply see it."""
    return compile_project(with_posted(project, registry.posted()))


def test_a_posted_group_is_recorded_and_served(server: ServerProcess, registry: Registry) -> None:
    would = post(server, TRIPS, "?plan=true")
    assert told(would) == (200, "planned")
    assert [(each["action"], each["id"]) for each in would.json["changes"]] == [("create", "user_trips@1")]
    assert server.get("/feature-groups/user_trips").status == 404

    made = post(server, TRIPS)
    assert told(made) == (201, "created")
    assert made.headers["location"] == made.json["url"] == "/feature-groups/user_trips@1"
    assert made.json["dagster"]["status"] == "failed"  # the group stands all the same
    shown = server.get(made.json["url"]).json  # at once
    assert (shown["definition"], shown["posted"]) == (made.json["definition"], True)
    assert shown["created_by"] == "rest"
    assert server.get("/feature-groups/user_trips/online?entity_ids=a").json["features"] == [COUNT["name"]]
    (entry, *_) = AccessControl(registry.engine).entries()
    assert (entry.by, entry.action) == ("rest", "apply")
    assert entry.details == {"changes": ["create feature group user_trips@1"]}

    for again in (
        TRIPS,
        made.json["definition"],
        {**shown["definition"], "entity": {"name": "user", "join_key": "user_id"}},
    ):
        assert told(post(server, again)) == (200, "unchanged")
    changed = post(server, trips(description="Trips."))
    assert told(changed) == (200, "updated")
    assert "location" not in changed.headers
    assert server.get(made.json["url"]).json["description"] == "Trips."


def test_what_the_code_has_is_the_codes(server: ServerProcess, registry: Registry) -> None:
    recorded = server.get("/feature-groups/user_visits").json
    assert told(post(server, recorded["definition"])) == (200, "unchanged")
    assert not registry.group("user_visits@1").posted
    changed = {**recorded["definition"], "description": "Other."}
    assert told(post(server, changed)) == (409, "defined-in-code")
    assert told(post(server, changed, "?plan=true")) == (409, "defined-in-code")
    second = {**recorded["definition"], "version": 2, "features": [COUNT]}
    assert told(post(server, {**second, "name": "user_trips"})) == (201, "created")


def test_the_examples_of_the_docs_fit_the_demo(new_registry: NewRegistry) -> None:
    registry = new_registry("registry_of_the_examples")
    registry.apply(registry.plan(compile_project(load_project("feature_defs"))), "tests")
    (line,) = re.findall(
        r'curl -s "\$SERVER/feature-groups" .*?\n```', (REPOSITORY / "docs/serving.md").read_text(), re.S
    )
    (route,) = [route for route in ROUTES if route.form == "PostedGroup"]
    for body in (json.loads(shlex.split(line.removesuffix("```"))[-1]), route.body):
        done = register_group(registry, body, "tests", lambda *_: Decision(True))
        assert done.group.id == "user_returns@1"
    assert done.change is None  # both say the same


def test_plan_and_apply_keep_what_was_posted(server: ServerProcess, registry: Registry) -> None:
    post(server, TRIPS)
    plan = registry.plan(planned(registry, code()))
    assert (plan.changes, plan.no_longer_defined) == ((), ())
    # the code changes the source that the posted group names, and both follow
    visits = GROUPS[-1]
    assert visits.source is not None
    moved = FeatureGroup.from_json(
        {**visits.to_json(), "source": {**visits.source.to_json(), "description": "Of users."}}
    )
    compiled = planned(registry, code(groups=(*GROUPS[:-1], moved)))
    assert compiled.groups["user_trips@1"].group.source == moved.source
    plan = registry.plan(compiled)
    assert {change.id for change in plan.safe} == {"user_visits@1", "user_trips@1"}
    # a source of its own stays, and clashes where the code takes its name
    assert post(server, trips(name="user_trips_own", source=LOG)).status == 201
    other = FeatureGroup.from_json(
        {**visits.to_json(), "name": "user_others", "source": {**LOG, "table": "raw.others"},
         "features": [{**COUNT, "name": "user_other_count_7d"}]}
    )  # fmt: skip
    with pytest.raises(DefinitionErrors, match="two different sources have the name 'trips'"):
        planned(registry, code(other))


def test_what_was_posted_becomes_code(
    server: ServerProcess, registry: Registry, stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(server, trips(source=LOG, derived={"user_trip_share": "user_trip_count_7d / 7.0"}))
    monkeypatch.setattr(commands, "DATABASE", POSTING_DATABASE)
    assert "./fs export user_trips@1 prints it as code" in CliRunner().invoke(commands.get, ["user_trips@1"]).output
    printed = CliRunner().invoke(commands.export, ["user_trips@1"])
    assert printed.exit_code == 0, printed.output
    assert "from feature_defs.shop" not in printed.stdout  # whose user is another one
    assert "put this into a module of feature_defs/ and run ./fs apply" in printed.stderr
    names: dict[str, Any] = {}
    exec(printed.stdout, names)
    written = names["user_trips"]
    recorded = registry.group("user_trips@1")
    assert {**written.to_json(), "entity": "user"} == recorded.definition

    compiled = planned(registry, code(written))
    assert compiled.groups["user_trips@1"].fingerprint == recorded.fingerprint
    plan = registry.plan(compiled)
    (change,) = plan.changes
    assert [str(detail) for detail in change.details] == ["kept in: the registry, where it was posted to -> the code"]
    assert not change.breaking
    registry.apply(plan, "tests")
    taken = registry.group("user_trips@1")
    assert (taken.posted, taken.definition, taken.fingerprint) == (False, recorded.definition, recorded.fingerprint)
    assert registry.plan(planned(registry, code(written))).changes == ()
    assert told(post(server, trips(source=LOG))) == (409, "defined-in-code")


def test_a_change_that_breaks_is_refused(server: ServerProcess) -> None:
    post(server, TRIPS)
    broken = trips(features=[{**COUNT, "window": "30d", "rename_ok": "a test"}])
    answer = post(server, broken)
    assert told(answer) == (409, "breaking-change")
    assert "version=2" in answer.json["detail"]
    (would,) = post(server, broken, "?plan=true").json["changes"]
    assert would["breaking"]
    assert told(post(server, trips(entity={"name": "user", "join_key": "customer"}))) == (422, "wrong-definition")
    assert told(post(server, trips(entity={"name": "user", "join_key": "user_id", "description": "Me."}))) == (
        409,
        "recorded-otherwise",
    )


def test_a_retired_group_stays_retired(server: ServerProcess, registry: Registry) -> None:
    post(server, trips(version=2))
    post(server, trips(deprecated={"successor": "user_trips@2", "removal": "2020-01-31"}))
    registry.retire("user_trips@1", "tests")
    assert registry.group("user_trips@1").status is Status.RETIRED
    assert told(post(server, TRIPS)) == (409, "breaking-change")
    assert {each.id for each in registry.posted()} == {"user_trips@2"}


def test_who_may_register(server: ServerProcess, registry: Registry, eventually: Eventually) -> None:
    control = AccessControl(registry.engine)

    def bearer(name: str, of: str, *scopes: str) -> dict[str, str]:
        secret = control.create_token(name, Principal.parse(of), "tests", scopes=scopes).secret
        headers = {"Authorization": f"Bearer {secret}"}
        eventually(lambda: server.get("/feature-groups", headers).status == 200)
        return headers

    reader, writer = bearer("reader", "team:trips", "read"), bearer("writer", "team:trips", "read", "write")
    other, admin = bearer("other", "team:other", "read", "write"), bearer("admin", "service:ops", "admin")
    assert told(post(server, TRIPS, **reader)) == (403, "access-denied")
    assert told(post(server, TRIPS, **other)) == (403, "access-denied")
    assert told(post(server, TRIPS, Authorization="Bearer nonsense")) == (401, "token-malformed")
    assert told(post(server, TRIPS, "?plan=true", **other)) == (403, "access-denied")
    assert told(post(server, TRIPS, **writer)) == (201, "created")
    assert registry.group("user_trips@1").created_by == "team:trips (token writer)"
    # the next version of what others own, under an owner of one's own
    assert told(post(server, trips(version=2, owner="team:other"), **other)) == (403, "access-denied")
    assert told(post(server, trips(owner="team:other"), **admin)) == (200, "updated")
    assert told(post(server, TRIPS, **writer)) == (403, "access-denied")
    # rows of others: not what is private, and no personal data
    rows = USERS.as_source()
    chained = trips(name="user_trips_chained", source=rows.to_json(), features=[{**COUNT, "name": "user_row_count_7d"}])
    assert told(post(server, chained, **writer)) == (403, "access-denied")
    hidden = {**rows.to_json(), "name": "any", "of_group": ""}
    assert told(post(server, {**chained, "source": hidden}, **writer)) == (403, "access-denied")
    columns = {name: dtype for name, dtype in rows.to_json()["schema"].items() if name != "user_name"}
    seen = {**rows.to_json(), "schema": columns, "pii": []}
    assert told(post(server, {**chained, "source": seen}, **writer)) == (201, "created")


def test_posts_at_once_and_beside_an_apply(server: ServerProcess, registry: Registry) -> None:
    ended = threading.Event()

    def apply() -> int:
        times = 0
        while not ended.is_set() or not times:  # beside quick posts each plan may be overtaken: the last one is not
            more = FeatureGroup.from_json({**GROUPS[-1].to_json(), "description": f"The {times}th."})
            with suppress(ConflictError):  # a group was posted since it was planned
                registry.apply(registry.plan(planned(registry, code(groups=(*GROUPS[:-1], more)))), "tests")
                times += 1
        return times

    names = [f"user_trips_{number}" for number in range(6)]
    with ThreadPoolExecutor(8) as pool:
        applying = pool.submit(apply)
        same = [pool.submit(post, server, TRIPS) for _ in range(2)]
        posts = [pool.submit(post, server, trips(name=name)) for name in names]
        answers = [told(each.result()) for each in posts]
        ended.set()
    assert sorted(told(each.result()) for each in same) == [(200, "unchanged"), (201, "created")]
    assert applying.result() > 0
    assert answers == [(201, "created")] * len(names)
    assert {each.id for each in registry.posted()} == {"user_trips@1", *(f"{name}@1" for name in names)}


def test_without_a_registry_nothing_is_registered(server: ServerProcess, registry: Registry) -> None:
    lost = ServerProcess(server.folder, "postgresql+psycopg2://fs:secret@127.0.0.1:1/registry")
    lost.start()  # with what the other server has kept
    try:
        assert told(post(lost, TRIPS)) == (503, "registry-down")
        assert lost.get("/feature-groups/user_facts/online?entity_ids=a").status == 200
    finally:
        lost.stop()
