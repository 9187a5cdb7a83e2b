"""The client over gRPC: the vectors and errors of HTTP; a server that hangs, is killed, comes back, is another."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings

from feature_store import AsyncFeatureStoreClient, FeatureStoreClient
from feature_store.dtypes import from_micros
from feature_store.errors import AccessError, FeatureStoreError, InputError, NotFoundError, StackError, TokenError
from feature_store.online.connection import connect
from feature_store.online.reader import OnlineReader
from feature_store.online.vectors import OnlineVectors
from feature_store.registry.access.store import AccessControl
from feature_store.registry.access.tokens import Principal
from feature_store.remote.online_pb2 import SchemaRequest
from feature_store.remote.online_pb2_grpc import OnlineStub
from feature_store.settings import REPOSITORY, Settings
from tests.integration.certificates import Authority
from tests.integration.own_valkey import free_port
from tests.integration.serving.client.comparison import Asked, assert_same, calls
from tests.integration.serving.client.setting import LOADS, PATIENT, TOTALS
from tests.integration.serving.conftest import NewRegistry, address_of
from tests.integration.serving.grpc_client import SECONDS, bearer, channel_to, refused
from tests.integration.serving.server_process import ServerProcess
from tests.integration.serving.shop import GROUPS, NAMES, VIEWS, Shop

EXAMPLES = 60
ROWS = [{"user_id": "a"}, {"user_id": "b"}]
HIDDEN = frozenset({"user_name", "buyer_user_name", "known_as"})
KINDS = ("threads", "events")
Call = Callable[..., OnlineVectors]


@dataclass(frozen=True)
class Setting:
    """A server that needs tokens, and those of an owner and of somebody from whom personal data are hidden."""

    shop: Shop
    server: ServerProcess
    tokens: dict[str, str]

    def url(self, protocol: str) -> str:
        port = self.server.port if protocol == "http" else self.server.grpc_port
        return f"{protocol}://localhost:{port}"


@pytest.fixture(scope="module")
def setting(stack: Settings, new_registry: NewRegistry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    registry = new_registry("registry_of_grpc_client")
    with connect(stack.redis_url) as redis:
        shop = Shop.fill(registry, redis, (*GROUPS, LOADS), (*VIEWS, TOTALS))
    access = AccessControl(registry.engine)
    owner, stranger = Principal.parse("team:shop"), Principal.parse("service:stranger")
    access.grant(stranger, "read", "pair_facts", "tests")
    tokens = {who.name: access.create_token(who.name, who, "tests").secret for who in (owner, stranger)}
    tokens = {"owner": tokens["shop"], "stranger": tokens["stranger"]}
    tokens["nobody"] = access.create_token("nobody", Principal.parse("service:nobody"), "tests").secret
    registry.record_usage("ranking@1", "ranker", "serving")
    server = ServerProcess(tmp_path_factory.mktemp("grpc"), address_of(registry), {"tokens_required": True})
    server.start()
    yield Setting(shop, server, tokens)
    send(server, signal.SIGCONT)
    server.stop(signal.SIGKILL)


@pytest.fixture(params=KINDS)
def calling(request: pytest.FixtureRequest, setting: Setting) -> Iterator[Callable[..., Call]]:
    """Makes clients of either kind; gives functions that read users with them."""
    kept: list[FeatureStoreClient] = []
    with asyncio.Runner() as runner:

        def make(url: str = setting.url("grpc"), **options: Any) -> Call:
            token = setting.tokens["owner"]
            if request.param == "threads":
                client = FeatureStoreClient(url, token, **options)
                kept.append(client)
                return lambda **given: client.online("user_facts", ROWS, kind="group", **given)
            events = AsyncFeatureStoreClient(url, token, **options)
            return lambda **given: runner.run(events.online("user_facts", ROWS, kind="group", **given))

        yield make
    for client in kept:
        client.close()


def send(server: ServerProcess, number: int) -> None:
    assert server.process is not None
    server.process.send_signal(number)


def test_vectors_are_those_of_the_store(setting: Setting, reader: OnlineReader) -> None:
    seen = dict.fromkeys(["overflow", "masked", "chosen", "failed"], 0)
    url, tokens = setting.url("grpc"), setting.tokens
    with asyncio.Runner() as runner:
        threads = {who: FeatureStoreClient(url, tokens[who], deadline=PATIENT) for who in ("owner", "stranger")}
        events = {who: AsyncFeatureStoreClient(url, tokens[who], deadline=PATIENT) for who in threads}

        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
        @given(calls(setting.shop.views))
        def compare(asked: Asked) -> None:
            given_: dict[str, Any] = {"kind": asked.kind, "request": asked.request, "features": asked.features}
            got = threads[asked.caller].online(asked.name, asked.rows, **given_)
            assert_same(got, asked.expected(reader, got.instant, HIDDEN))
            again = runner.run(events[asked.caller].online(asked.name, asked.rows, **given_))
            assert_same(again, asked.expected(reader, again.instant, HIDDEN))
            seen["overflow"] += any(got.overflowed)
            seen["masked"] += bool(got.masked)
            seen["chosen"] += got.chosen is not None
            seen["failed"] += 1

        compare()
        for client in events.values():
            runner.run(client.close())
    assert all(seen.values()), seen


def test_a_model_s_vectors_and_values_of_all_rows(setting: Setting, reader: OnlineReader) -> None:
    request: dict[str, Any] = {"budget": 1.5, "asked_at": from_micros(7)}
    rows: list[dict[str, Any]] = [{"user_id": "a", "item_id": 1, "budget": 3}, {"user_id": "b", "item_id": None}]
    view = setting.shop.views["view", "ranking@1"]
    with FeatureStoreClient(setting.url("grpc"), setting.tokens["owner"], deadline=PATIENT) as client:
        got = client.online("ranker", rows, kind="model", request=request)
        assert_same(got, reader.read(view, rows, from_micros(got.instant), request=request))
        whole = client.online("user_facts", [{"user_id": str(i)} for i in range(1_000)], kind="group")
        assert len(whole) == 1_000


def test_errors_are_those_over_http(setting: Setting) -> None:
    rows: Any = [{"user_id": "a"}]
    cases: list[tuple[type[FeatureStoreError], str, Callable[[FeatureStoreClient], Any]]] = [
        (NotFoundError, "not-recorded", lambda c: c.online("nothing é|%@1", rows)),
        (NotFoundError, "not-recorded", lambda c: c.online("nothing", rows, kind="group")),
        (NotFoundError, "unknown-model", lambda c: c.online("nothing", rows, kind="model")),
        (InputError, "no-rows", lambda c: c.online("user_facts", [], kind="group")),
        (InputError, "missing-key-column", lambda c: c.online("user_facts", [{"x": 1}], kind="group")),
        (InputError, "missing-key-column", lambda c: c.online("user_facts", [*rows, {"x": 1}], kind="group")),
        (InputError, "wrong-key-type", lambda c: c.online("user_facts", [{"user_id": 5}], kind="group")),
        (InputError, "missing-request-value", lambda c: c.online("ranking", [{"user_id": "a", "item_id": 1}])),
        (InputError, "not-in-view", lambda c: c.online("user_facts", rows, kind="group", features=["user_cuont"])),
        (InputError, "too-many-rows", lambda c: c.online("user_facts", rows * 1001, kind="group")),
        (InputError, "large-request", lambda c: c.online("user_facts", [{"user_id": "x" * 2**21}], kind="group")),
        (InputError, "large-request", lambda c: c.online("user_facts", [{"user_id": "x" * 2**23}], kind="group")),
        (InputError, "malformed-request", lambda c: c.online("user_facts", [{"user_id": object()}], kind="group")),
        (InputError, "malformed-request", lambda c: c.online("user_facts", [{"user_id": 2**70}], kind="group")),
        (InputError, "malformed-request", lambda c: c.online("user_facts", [{"user_id": "\ud800"}], kind="group")),
    ]
    told = []
    for protocol in ("grpc", "http"):
        with FeatureStoreClient(setting.url(protocol), setting.tokens["owner"], deadline=PATIENT) as client:
            errors = []
            for kind, code, call in cases:
                with pytest.raises(FeatureStoreError) as caught:
                    call(client)
                assert (type(caught.value), caught.value.code) == (kind, code), str(caught.value)
                errors.append(caught.value)
            told.append([(str(e).split("(")[0], e.where, e.remedy) for e in errors if e.code not in CUT])
    assert told[0] == told[1]
    for token, kind in (("nobody", AccessError), ("x", TokenError), ("", TokenError)):
        with pytest.raises(kind):
            FeatureStoreClient(setting.url("grpc"), setting.tokens.get(token, token)).online("ranking", rows)


CUT = ("malformed-request", "large-request", "missing-key-column", "no-rows")
"""Codes of what is found at another place over gRPC: before it is sent, by gRPC, or in columns."""


def test_a_schema_is_told_to_who_has_a_token(setting: Setting) -> None:
    owner = bearer(setting.tokens["owner"])
    asked = SchemaRequest(kind=SchemaRequest.GROUP, id="user_facts")
    with channel_to(setting.server) as channel:
        stub = OnlineStub(channel)
        told = json.loads(stub.GetSchema(asked, timeout=SECONDS, metadata=owner).schema)
        assert told == setting.server.get("/feature-groups/user_facts", {"Authorization": owner[0][1]}).json["schema"]
        raw = channel.unary_unary("/feature_store.v1.Online/GetSchema")
        for call, message, metadata, refusal in (
            (stub.GetSchema, asked, (), (grpc.StatusCode.UNAUTHENTICATED, "token-missing")),
            (stub.GetSchema, SchemaRequest(id="user_facts"), owner, (grpc.StatusCode.NOT_FOUND, "not-recorded")),
            (raw, b"\xff\xff", owner, (grpc.StatusCode.INVALID_ARGUMENT, "malformed-request")),
        ):
            assert refused(call, message, metadata=metadata)[0] == refusal


def test_addresses_and_options_that_make_no_sense() -> None:
    for url in ("grpc://127.0.0.1:1/path", "grpc://me:secret@127.0.0.1:1", "grpc://", "grpcx://127.0.0.1"):
        with pytest.raises(StackError) as error:
            FeatureStoreClient(url, "")
        assert error.value.code == "service-address"
    with pytest.raises(InputError, match="over HTTP only"):
        FeatureStoreClient("grpc://127.0.0.1:1", "", hedge_after=0.1)
    assert "grpcs://[::1]:443" in repr(FeatureStoreClient("grpcs://[::1]", "fs_secret"))


def test_a_server_that_hangs_costs_a_deadline(setting: Setting, calling: Callable[..., Call]) -> None:
    call = calling(deadline=PATIENT)
    before = call().to_dicts()
    send(setting.server, signal.SIGSTOP)
    try:
        for make in (call, calling(deadline=PATIENT)):  # connected, and not
            began = time.monotonic()
            with pytest.raises(StackError, match=r"no answer within 0\.2 s") as error:
                make(deadline=0.2)
            assert error.value.code == "deadline"
            assert time.monotonic() - began < PATIENT / 2
    finally:
        send(setting.server, signal.SIGCONT)
    assert call().to_dicts() == before


def test_a_server_that_is_killed_and_comes_back_is_asked_again(setting: Setting) -> None:
    url, token = setting.url("grpc"), setting.tokens["owner"]
    with FeatureStoreClient(url, token, deadline=PATIENT) as client, asyncio.Runner() as runner:
        events = AsyncFeatureStoreClient(url, token, deadline=PATIENT)

        def by_threads(**given: Any) -> list[dict[str, Any]]:
            return client.online("user_facts", ROWS, kind="group", **given).to_dicts()

        def by_events(**given: Any) -> list[dict[str, Any]]:
            return runner.run(events.online("user_facts", ROWS, kind="group", **given)).to_dicts()

        before = [by_threads(), by_events()]
        setting.server.stop(signal.SIGKILL)
        for ask in (by_threads, by_events):
            with pytest.raises(StackError, match=r"(?i)connect|unavailable|socket|reset") as error:
                ask(deadline=0.3)
            assert error.value.code == "deadline"
        with ThreadPoolExecutor(2) as pool:
            starting, asked = pool.submit(setting.server.start), pool.submit(by_threads)
            assert [by_events(), asked.result()] == before  # it is tried again until there is a server
            starting.result()
        assert setting.server.stop() in (0, -signal.SIGTERM)  # told to end: what waits for another one is not lost
        setting.server.start()
        assert [by_threads(), by_events()] == before
        runner.run(events.close())


def test_what_is_no_server_of_vectors_is_told_so(setting: Setting, calling: Callable[..., Call]) -> None:
    for port in (free_port(), setting.server.port):  # nobody; HTTP
        with pytest.raises(StackError) as error:
            calling(f"grpc://127.0.0.1:{port}", deadline=0.3)()
        assert error.value.code == "deadline"
    with pytest.raises(StackError, match=r"nowhere\.invalid|resolution"):
        calling("grpc://nowhere.invalid:1", deadline=2.0)()


def test_threads_and_tasks_get_their_own_answers(setting: Setting) -> None:
    url, token = setting.url("grpc"), setting.tokens["owner"]
    asked = [random.Random(number).choices(NAMES, k=1 + number % 5) for number in range(100)]
    rows = [[{"user_id": name} for name in names] for names in asked]
    with FeatureStoreClient(url, token, deadline=PATIENT) as client, ThreadPoolExecutor(8) as pool:
        known = {name: client.online("user_facts", [{"user_id": name}], kind="group").to_dicts()[0] for name in NAMES}
        found = pool.map(lambda each: client.online("user_facts", each, kind="group").to_dicts(), rows)
        expected = [[known[name] for name in names] for names in asked]
        assert [*found] == expected

    async def all_at_once() -> list[OnlineVectors]:
        async with AsyncFeatureStoreClient(url, token, deadline=PATIENT) as events:
            return await asyncio.gather(*(events.online("user_facts", each, kind="group") for each in rows))

    assert [vectors.to_dicts() for vectors in asyncio.run(all_at_once())] == expected


def test_a_certificate_is_checked(stack: Settings, setting: Setting, tmp_path: Path,
                                  monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    authority = Authority(tmp_path)
    files = authority.sign("server")
    environment = {"FS_SERVING_CERT": str(files.certificate), "FS_SERVING_KEY": str(files.key)}
    encrypted = ServerProcess(tmp_path, setting.server.registry_url, environment=environment)
    encrypted.start(lambda: "gRPC on port" in encrypted.log.read_text())
    try:
        url = f"grpcs://127.0.0.1:{encrypted.grpc_port}"
        with pytest.raises(StackError) as error:
            FeatureStoreClient(url, "", deadline=0.5).online("user_facts", ROWS, kind="group")
        assert error.value.code == "deadline"
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        with FeatureStoreClient(url, "", deadline=PATIENT) as client:
            assert len(client.online("user_facts", ROWS, kind="group")) == 2

        async def read() -> OnlineVectors:
            async with AsyncFeatureStoreClient(url, "", deadline=PATIENT) as events:
                return await events.online("user_facts", ROWS, kind="group")

        assert len(asyncio.run(read())) == 2
    finally:
        encrypted.stop(signal.SIGKILL)


WITHOUT_PACKAGES = """
import sys
sys.modules["grpc"] = sys.modules["google.protobuf"] = None
from feature_store import FeatureStoreClient
from feature_store.errors import StackError
FeatureStoreClient("http://127.0.0.1:1", "")
try:
    FeatureStoreClient("grpc://127.0.0.1:1", "")
except StackError as error:
    assert (error.code, "feature-store[client,grpc]" in error.remedy) == ("package-missing", True), error
else:
    raise AssertionError
"""


def test_the_packages_are_needed_for_such_an_address_only() -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", WITHOUT_PACKAGES], env=environment, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
