"""What the client gives, with threads and with an event loop, is what the store gives in the same process."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hypothesis import HealthCheck, given, settings

from feature_store import (
    Deprecated,
    FeatureStore,
    FeatureView,
)
from feature_store.dsl.collect import Project
from feature_store.errors import (
    ConflictError,
    NotFoundError,
)
from feature_store.online.reader import OnlineReader
from feature_store.online.vectors import OnlineVectors
from feature_store.plan.project import compile_project
from feature_store.registry.store import Registry
from feature_store.settings import Settings
from tests.conftest import Eventually
from tests.integration.serving.client.comparison import Asked, assert_same, calls
from tests.integration.serving.client.setting import LOADS, TOTALS, Callers
from tests.integration.serving.shop import GROUPS, NAMES, USERS, VIEWS, Shop, visits

EXAMPLES = 150


def is_known(call: Callable[[], object]) -> bool:
    """Whether a server knows what is read; it learns of changes a moment after they are made."""
    try:
        call()
    except NotFoundError:
        return False
    return True


def test_vectors_are_those_of_the_store(
    callers: Callers, runner: asyncio.Runner, larger_shop: Shop, reader: OnlineReader
) -> None:
    found = dict.fromkeys(["overflow", "masked", "chosen", "places"], 0)

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
    @given(calls(larger_shop.views))
    def compare(asked: Asked) -> None:
        given: dict[str, Any] = {"kind": asked.kind, "request": asked.request, "features": asked.features}
        got = callers.threads[asked.caller].online(asked.name, asked.rows, **given)
        want = asked.expected(reader, got.instant, callers.hidden)
        assert_same(got, want)
        again = runner.run(callers.events[asked.caller].online(asked.name, asked.rows, **given))
        assert_same(again, asked.expected(reader, again.instant, callers.hidden))
        found["overflow"] += any(got.overflowed)
        found["masked"] += bool(got.masked)
        found["chosen"] += got.chosen is not None
        found["places"] += any(part.places is not None for part in got.groups)

    compare()
    assert all(found.values()), found


def test_a_model_s_vectors_are_those_of_its_view(callers: Callers) -> None:
    rows, request = [{"user_id": "a", "item_id": 1}], {"budget": 1.0, "asked_at": None}
    client = callers.threads["owner"]
    by_model = client.online("ranker", rows, kind="model", request=request)
    assert by_model.to_dicts() == client.online("ranking@1", rows, request=request).to_dicts()
    assert by_model.view.id == "ranking@1"


def test_the_store_itself_has_chosen_features(stack: Settings, larger_shop: Shop, client_registry: Registry) -> None:
    assert larger_shop.views
    store = FeatureStore(stack)
    store.registry = client_registry  # the one of these tests
    rows, request = [{"user_id": "a", "item_id": 1}], {"budget": 1.0, "asked_at": None}
    whole = store.online("ranking@1", rows, request=request)
    chosen = store.online("ranking@1", rows, request=request, features=["rest", "user_count"])
    assert [*chosen.to_dicts()[0]] == ["user_id", "item_id", "user_count", "rest"]
    assert whole.select(["user_count", "rest"]).to_dicts() == chosen.to_dicts()


def test_what_is_retired_is_a_conflict(
    client_registry: Registry, callers: Callers, eventually: Eventually, larger_shop: Shop
) -> None:
    assert larger_shop.views
    passed = Deprecated("ranking@1", removal="2020-01-31")
    old = FeatureView("old", groups=[USERS], owner="team:ranking", deprecated=passed)
    project = Project((*GROUPS, LOADS), (*VIEWS, TOTALS, old), {})
    client_registry.apply(client_registry.plan(compile_project(project)), "tests")
    client = callers.threads["owner"]

    eventually(lambda: is_known(lambda: client.online("old@1", [{"user_id": "a"}])))
    client_registry.retire("old@1", kind="view", by="tests")

    def is_refused() -> bool:
        try:
            client.online("old@1", [{"user_id": "a"}])
        except ConflictError as error:
            return error.code == "retired"
        return False

    eventually(is_refused)


def test_a_feature_that_is_added_is_seen(client_registry: Registry, callers: Callers, eventually: Eventually) -> None:
    def names() -> list[list[str]]:
        rows = [{"user_id": "a"}, {"user_id": "nobody"}]
        return [[*row] for row in callers.threads["owner"].online("user_visits", rows, kind="group").to_dicts()]

    assert names() == [["user_id", "user_visit_count_7d"]] * 2
    groups = tuple(visits(default=5) if group.name == "user_visits" else group for group in (*GROUPS, LOADS))
    client_registry.apply(client_registry.plan(compile_project(Project(groups, (*VIEWS, TOTALS), {}))), "tests")
    eventually(lambda: names() == [["user_id", "user_visit_count_7d", "user_visit_count_30d"]] * 2)


def test_threads_and_tasks_get_their_own_answers(callers: Callers, runner: asyncio.Runner) -> None:
    client, events = callers.threads["owner"], callers.events["owner"]
    known = {name: client.online("user_facts", [{"user_id": name}], kind="group").to_dicts()[0] for name in NAMES}
    asked = [random.Random(number).choices(NAMES, k=1 + number % 5) for number in range(200)]
    expected = [[known[name] for name in names] for names in asked]
    rows = [[{"user_id": name} for name in names] for names in asked]
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda each: client.online("user_facts", each, kind="group").to_dicts(), rows)
        assert [*found] == expected

    async def all_at_once() -> list[OnlineVectors]:
        return await asyncio.gather(*(events.online("user_facts", each, kind="group") for each in rows))

    assert [vectors.to_dicts() for vectors in runner.run(all_at_once())] == expected
