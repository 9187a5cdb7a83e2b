"""What the client gives, with threads and with an event loop, is what the store gives in the same process."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, cast

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_store import (
    INT,
    STRING,
    TIMESTAMP,
    AsyncFeatureStoreClient,
    BatchSource,
    Deprecated,
    Feature,
    FeatureGroup,
    FeatureStore,
    FeatureStoreClient,
    FeatureView,
    OnDemand,
    agg,
)
from feature_store.dsl.collect import Project
from feature_store.dtypes import DType, from_micros
from feature_store.errors import (
    AccessError,
    ConflictError,
    FeatureStoreError,
    InputError,
    NotFoundError,
    StackError,
    TokenError,
)
from feature_store.online.connection import connect
from feature_store.online.reader import OnlineReader
from feature_store.online.vectors import OnlineVectors
from feature_store.plan.project import compile_project
from feature_store.plan.schema import ViewSchema
from feature_store.registry.access.store import AccessControl
from feature_store.registry.access.tokens import Principal
from feature_store.registry.store import Registry
from feature_store.settings import REPOSITORY, Settings
from tests.conftest import Eventually
from tests.integration.serving.conftest import NewRegistry, address_of
from tests.integration.serving.server_process import ServerProcess
from tests.integration.serving.shop import GROUPS, ITEMS, NAMES, NUMBERS, USER, USERS, VIEWS, Shop, visits

EXAMPLES = 150
PATIENT = 20.0
"""Seconds that a call may take where the deadline is not what is tested."""
LOADS = FeatureGroup(
    "user_loads",
    entity=USER,
    source=BatchSource("loads", table="raw.loads", event_timestamp="ts", schema={"user_id": STRING, "ts": TIMESTAMP}),
    owner="team:shop",
    features=[Feature("user_load_count_7d", agg.count(), window="7d", dtype=INT)],
    derived={"user_load_square_7d": "user_load_count_7d * user_load_count_7d"},
)
"""The square does not fit 64 bits."""
TOTALS = FeatureView(
    "totals",
    groups=[LOADS, USERS.keyed_by("buyer_id", prefix="buyer_"), ITEMS],
    request={"more": INT},
    on_demand=[
        OnDemand("sum", "buyer_user_count + more", dtype=INT, default=0),
        OnDemand("known_as", "buyer_user_name", dtype=STRING),
        OnDemand("last_at", "buyer_user_at", dtype=TIMESTAMP),
    ],
    owner="team:ranking",
)


@dataclass(frozen=True)
class Callers:
    """The clients of two callers: one sees everything, from the other personal data are hidden.

    Attributes:
        hidden: the columns that the second one must not see.
    """

    threads: dict[str, FeatureStoreClient]
    events: dict[str, AsyncFeatureStoreClient]
    hidden: frozenset[str] = frozenset({"user_name", "buyer_user_name", "known_as"})


@pytest.fixture(scope="module")
def client_registry(new_registry: NewRegistry) -> Registry:
    return new_registry("registry_of_client_tests")


@pytest.fixture(scope="module")
def larger_shop(stack: Settings, client_registry: Registry) -> Shop:
    """The shop with features that overflow."""
    with connect(stack.redis_url) as redis:
        return Shop.fill(client_registry, redis, (*GROUPS, LOADS), (*VIEWS, TOTALS))


@pytest.fixture(scope="module")
def serving(
    client_registry: Registry, larger_shop: Shop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    assert larger_shop.views
    client_registry.record_usage("ranking@1", "ranker", "serving")
    process = ServerProcess(tmp_path_factory.mktemp("client"), address_of(client_registry), {"tokens_required": True})
    process.start()
    yield process
    process.stop(signal.SIGKILL)  # the end is tested elsewhere; it takes seconds


@pytest.fixture(scope="module")
def tokens(client_registry: Registry, larger_shop: Shop) -> dict[str, str]:
    assert larger_shop.views
    control = AccessControl(client_registry.engine)
    owner, stranger = Principal.parse("team:shop"), Principal.parse("service:stranger")
    control.grant(stranger, "read", "pair_facts", "tests")
    nobody = Principal.parse("service:nobody")
    named = {"owner": owner, "stranger": stranger, "nobody": nobody}
    return {name: control.create_token(name, principal, "tests").secret for name, principal in named.items()}


@pytest.fixture(scope="module")
def url(serving: ServerProcess) -> str:
    return f"http://localhost:{serving.port}"


@pytest.fixture(scope="module")
def callers(url: str, tokens: dict[str, str]) -> Iterator[Callers]:
    seeing = ("owner", "stranger")
    threads = {name: FeatureStoreClient(url, tokens[name], deadline=PATIENT) for name in seeing}
    events = {name: AsyncFeatureStoreClient(url, tokens[name], deadline=PATIENT) for name in seeing}
    yield Callers(threads, events)
    for client in threads.values():
        client.close()


@pytest.fixture(scope="module")
def runner(callers: Callers) -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner
        for client in callers.events.values():
            runner.run(client.close())


@dataclass(frozen=True)
class Asked:
    """A call: what is read, by whom."""

    kind: Literal["view", "group"]
    name: str
    view: ViewSchema
    rows: list[dict[str, Any]]
    request: dict[str, Any]
    features: list[str] | None
    caller: str

    def expected(self, reader: OnlineReader, instant: int, hidden: frozenset[str]) -> OnlineVectors:
        """What the store gives in this process at the same instant, without what the caller must not see."""
        vectors = reader.read(self.view, self.rows, from_micros(instant), request=self.request)
        vectors = vectors if self.features is None else vectors.select(self.features)
        seen = [column.name for column in vectors.outputs]
        return msgspec.structs.replace(
            vectors, masked=tuple(n for n in seen if n in hidden) if self.caller == "stranger" else ()
        )


def key_values(dtype: DType) -> st.SearchStrategy[Any]:
    match dtype.kind:
        case "STRING":
            return st.sampled_from([*NAMES, "nobody"])
        case "INT":
            return st.sampled_from(NUMBERS)
        case _:
            return st.sampled_from([from_micros(0), from_micros(1_790_000_000_000_000)])


REQUESTED: dict[str, st.SearchStrategy[Any]] = {
    "INT": st.none() | st.sampled_from([2**63 - 1, -(2**63), 0]),
    "FLOAT": st.none() | st.floats(-1e6, 1e6),
    "TIMESTAMP": st.none() | st.integers(0, 10**15).map(from_micros),
}


@st.composite
def calls(draw: st.DrawFn, views: dict[tuple[str, str], ViewSchema]) -> Asked:
    """Any view or group, any rows, some of them without a key or with request values of their own."""
    kind, name = draw(st.sampled_from([*sorted(views), *[("view", TOTALS.id)] * 3]))
    view = views[kind, name]
    keys = {key.name: draw(st.just(key_values(key.dtype))) | st.none() for key in view.keys}
    own = {column.name: REQUESTED[column.dtype.kind] for column in view.request}
    rows = draw(st.lists(st.fixed_dictionaries(keys, optional=own), min_size=1, max_size=12))
    request = draw(st.fixed_dictionaries(own))
    names = [column.name for column in view.outputs]
    features = draw(st.none() | st.lists(st.sampled_from(names), unique=True, max_size=4))
    shown = draw(st.sampled_from([name, view.name]))
    return Asked(cast(Any, kind), shown, view, rows, request, features, draw(st.sampled_from(["owner", "stranger"])))


def assert_same(got: OnlineVectors, want: OnlineVectors) -> None:
    """Everything that vectors tell is equal; the values of masked features are None."""
    hidden = set(want.masked)
    columns = [column.name for column in want.outputs]
    assert [column.name for column in got.outputs] == columns
    assert got.masked == want.masked
    masked = [{n: None if n in hidden else v for n, v in row.items()} for row in want.to_dicts()]
    assert got.to_dicts() == masked
    assert (got.statuses, got.feature_timestamps) == (want.statuses, want.feature_timestamps)
    assert got.overflowed == [tuple(n for n in row if n not in hidden) for row in want.overflowed]
    assert (got.stale, got.updated_at, len(got)) == (want.stale, want.updated_at, len(want))
    shown = [name for name in (*(key.name for key in want.view.keys), *columns) if name not in hidden]
    assert got.to_arrow().schema == want.to_arrow().schema
    assert got.to_arrow().select(shown) == want.to_arrow().select(shown)
    numeric = [c.name for c in want.outputs if c.dtype.kind in ("INT", "FLOAT", "EMBEDDING") and c.name not in hidden]
    assert got.matrix_columns(numeric) == want.matrix_columns(numeric)
    assert got.to_numpy(numeric).tobytes() == want.to_numpy(numeric).tobytes()


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


def test_errors_are_those_of_the_store(callers: Callers, url: str, tokens: dict[str, str]) -> None:
    client, rows = callers.threads["owner"], [{"user_id": "a"}]
    cases: list[tuple[type[FeatureStoreError], str, Any]] = [
        (NotFoundError, "not-recorded", lambda: client.online("nothing é|%@1", rows)),
        (NotFoundError, "not-recorded", lambda: client.online("nothing", rows, kind="group")),
        (NotFoundError, "unknown-model", lambda: client.online("nothing", rows, kind="model")),
        (InputError, "no-rows", lambda: client.online("user_facts", [], kind="group")),
        (InputError, "missing-key-column", lambda: client.online("user_facts", [{}], kind="group")),
        (InputError, "wrong-key-type", lambda: client.online("user_facts", [{"user_id": 5}], kind="group")),
        (InputError, "wrong-key-type", lambda: client.online("item_facts", [{"item_id": 2**64 - 1}], kind="group")),
        (InputError, "missing-request-value", lambda: client.online("ranking", [{"user_id": "a", "item_id": 1}])),
        (InputError, "not-in-view", lambda: client.online("user_facts", rows, kind="group", features=["user_cuont"])),
        (InputError, "too-many-rows", lambda: client.online("user_facts", rows * 1001, kind="group")),
        (InputError, "large-request", lambda: client.online("user_facts", [{"user_id": "x" * 2**22}], kind="group")),
        (InputError, "malformed-request", lambda: client.online("user_facts", [{"user_id": object()}], kind="group")),
        (InputError, "malformed-request", lambda: client.online("user_facts", [{"user_id": 2**70}], kind="group")),
        (InputError, "malformed-request", lambda: client.online("user_facts", [{"user_id": "\ud800"}], kind="group")),
        (InputError, "malformed-request", lambda: client.online("user_facts", rows, kind=cast(Any, "model@1"))),
        (AccessError, "access-denied", lambda: FeatureStoreClient(url, tokens["nobody"]).online("ranking", rows)),
        (TokenError, "token-unknown", lambda: FeatureStoreClient(url, "fs_" + "x" * 43).online("ranking", rows)),
        (TokenError, "token-missing", lambda: FeatureStoreClient(url, "").online("ranking", rows)),
        (TokenError, "token-malformed", lambda: FeatureStoreClient(url, "fs_secret\r\nx: y")),
        (StackError, "service-address", lambda: FeatureStoreClient("redis://:secret@127.0.0.1:1")),
        (StackError, "service-address", lambda: FeatureStoreClient("http://me:secret@127.0.0.1:1")),
        (NotFoundError, "no-route", lambda: FeatureStoreClient(f"{url}/behind", tokens["owner"]).online("x", rows)),
    ]
    for kind, code, call in cases:
        with pytest.raises(FeatureStoreError) as caught:
            call()
        assert (type(caught.value), caught.value.code) == (kind, code), str(caught.value)
    with pytest.raises(InputError, match=r"did you mean 'user_count'\?"):
        client.online("user_facts", rows, kind="group", features=["user_cuont"])


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


def test_nothing_tells_the_token(
    url: str, tokens: dict[str, str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "fs_" + "s3cret" * 8
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("FS_SERVING_URL", url)
    monkeypatch.setenv("FS_TOKEN", secret)
    shown = []
    for client in (FeatureStoreClient(), AsyncFeatureStoreClient()):
        shown += [repr(client), str(client), repr(vars(client))]
    with FeatureStoreClient() as client, pytest.raises(TokenError) as error:
        client.online("ranking", [{"user_id": "a", "item_id": 1}])
    shown += [*traceback.format_exception(error.value), *(repr(entry.locals) for entry in error.traceback[1:-1])]
    monkeypatch.setenv("FS_TOKEN", tokens["owner"])
    assert FeatureStoreClient().online("user_facts", [{"user_id": "a"}], kind="group").view.id == "user_facts@1"
    assert not [text for text in [*shown, caplog.text] if secret in text]


FORKED = """
import os, sys
from feature_store import FeatureStoreClient

def ports_after_a_call():
    assert len(client.online("user_facts", [{"user_id": "a"}], kind="group", deadline=20)) == 1
    return {connection._socket.getsockname()[1] for connection in client._transport._idle}

client = FeatureStoreClient()
ports = ports_after_a_call()
child = os.fork()
shared = ports & ports_after_a_call()
if child == 0:
    os._exit(1 if shared else 0)
sys.exit(0 if shared and os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0 else 1)
"""
"""The parent goes on with its connection, the child makes its own."""


def test_a_process_that_forks_shares_no_connection(url: str, tokens: dict[str, str]) -> None:
    environment = {"FS_SERVING_URL": url, "FS_TOKEN": tokens["owner"], "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", FORKED], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
