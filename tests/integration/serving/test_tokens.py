"""Who may read what over HTTP: tokens, grants, masked columns; changed while the server answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPResponse
from io import BytesIO
from typing import Any

import pyarrow as pa
import pytest

from feature_store.errors import StackError
from feature_store.online.connection import connect
from feature_store.registry.access.store import AccessControl
from feature_store.registry.access.tokens import NewToken, Principal
from feature_store.registry.store import Registry
from feature_store.settings import Settings
from serving.settings import ServingSettings
from tests.conftest import Eventually
from tests.integration.serving.conftest import NewRegistry, address_of
from tests.integration.serving.server_process import Answer, ServerProcess, connected, get
from tests.integration.serving.shop import Shop

USERS, PAIRS = "/feature-groups/user_facts/online", "/feature-groups/pair_facts/online"
RATE = 200
RANKING = "/feature-views/ranking/online?user_id=a&item_id=1&budget=1&asked_at=null"


@pytest.fixture(scope="module")
def guarded_registry(stack: Settings, new_registry: NewRegistry) -> Registry:
    registry = new_registry("registry_of_tokens")
    with connect(stack.redis_url) as redis:
        Shop.fill(registry, redis)
    return registry


@pytest.fixture(scope="module")
def control(guarded_registry: Registry) -> AccessControl:
    return AccessControl(guarded_registry.engine)


@pytest.fixture(scope="module")
def guarded(guarded_registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that answers nobody without a token."""
    changes = {"tokens_required": True, "rate": RATE}
    process = ServerProcess(tmp_path_factory.mktemp("guarded"), address_of(guarded_registry), changes)
    process.start()
    yield process
    process.stop()


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def made(control: AccessControl, name: str, of: str, **given: Any) -> NewToken:
    return control.create_token(name, Principal.parse(of), "tests", **given)


def told(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json["code"] if answer.status != 200 else ""


def test_a_caller_must_be_known(guarded: ServerProcess, control: AccessControl, eventually: Eventually) -> None:
    path = f"{USERS}?entity_ids=a"
    for headers, code in (
        (None, "token-missing"),
        (bearer("fs_" + "x" * 43), "token-unknown"),
        (bearer("é"), "token-malformed"),
        ({"Authorization": "Basic dTpw"}, "token-malformed"),
    ):
        for each in (path, "/feature-groups", "/metrics"):
            answer = guarded.get(each, headers)
            assert told(answer) == (401, code)
            assert answer.headers["www-authenticate"] == "Bearer"
    for each in ("/health", "/ready", "/docs", "/errors/token-missing"):
        assert guarded.get(each).status == 200

    token = made(control, "reader", "service:reader")
    eventually(lambda: guarded.get(path, bearer(token.secret)).status == 200)
    control.revoke_token("reader", "tests")
    eventually(lambda: told(guarded.get(path, bearer(token.secret))) == (401, "token-revoked"))
    assert token.secret.encode() not in guarded.log.read_bytes() + guarded.snapshot.read_bytes()


def test_what_is_private_takes_a_grant(guarded: ServerProcess, control: AccessControl, eventually: Eventually) -> None:
    other, owner = made(control, "other", "team:other").secret, made(control, "owner", "team:shop").secret
    path = f"{PAIRS}?entity_ids=a|1"
    eventually(lambda: (guarded.get(path, bearer(owner)).status, guarded.get(path, bearer(other)).status) == (200, 403))
    for each in (path, RANKING):
        assert told(guarded.get(each, bearer(other))) == (403, "access-denied")
    control.grant(Principal.parse("team:other"), "read", "pair_facts", "tests")
    for each in (path, RANKING):
        eventually(lambda each=each: guarded.get(each, bearer(other)).status == 200)
    control.ungrant(Principal.parse("team:other"), "read", "pair_facts", "tests")
    eventually(lambda: told(guarded.get(path, bearer(other))) == (403, "access-denied"))


def test_personal_data_are_masked_in_every_shape(
    guarded: ServerProcess, control: AccessControl, eventually: Eventually
) -> None:
    stranger, owner = made(control, "stranger", "service:x").secret, made(control, "family", "team:shop").secret
    path = f"{USERS}?entity_ids=a,b,nobody"
    eventually(lambda: {guarded.get(path, bearer(secret)).status for secret in (stranger, owner)} == {200})
    seen, hidden = guarded.get(path, bearer(owner)).json, guarded.get(path, bearer(stranger)).json
    assert [row[1] for row in seen["rows"]][-1] == "?"
    assert "masked" not in seen
    assert hidden["masked"] == ["user_name"]
    assert hidden["rows"] == [[count, None, at] for count, _, at in seen["rows"]]
    assert hidden["groups"] == seen["groups"]
    records = guarded.get(f"{path}&shape=records", bearer(stranger)).json
    assert {record["features"]["user_name"] for record in records["records"]} == {None}
    packed = guarded.get(f"{path}&shape=msgpack", bearer(stranger)).packed
    assert [row[1] for row in packed["groups"][0]["rows"]] == [None] * 3
    assert packed["groups"][0]["absent"] == [7, None, None]
    table = pa.ipc.open_stream(BytesIO(guarded.get(f"{path}&shape=arrow", bearer(stranger)).body)).read_all()
    assert table["user_name"].to_pylist() == [None] * 3
    chosen = guarded.get(f"{path}&features=user_name", bearer(stranger)).json
    assert (chosen["rows"], chosen["masked"]) == ([[None]] * 3, ["user_name"])
    control.grant(Principal.parse("service:x"), "pii", "user_facts", "tests")
    eventually(lambda: guarded.get(path, bearer(stranger)).json["rows"] == seen["rows"])


def test_a_token_says_which_model_reads(
    guarded: ServerProcess, guarded_registry: Registry, control: AccessControl, eventually: Eventually
) -> None:
    secret = made(control, "scorer", "team:shop", model="scorer").secret
    eventually(lambda: guarded.get(RANKING, bearer(secret) | {"X-Model": "liar"}).status == 200)
    eventually(lambda: [used.model for used in guarded_registry.usage("ranking@1")] == ["scorer"])


def test_a_token_that_asks_too_often_waits(
    guarded: ServerProcess, control: AccessControl, eventually: Eventually
) -> None:
    busy, quiet = made(control, "busy", "service:busy").secret, made(control, "quiet", "service:quiet").secret
    eventually(lambda: {guarded.get(f"{USERS}?entity_ids=a", bearer(s)).status for s in (busy, quiet)} == {200})

    def burst() -> list[tuple[HTTPResponse, bytes]]:
        """What is refused of many requests; nothing, where they took so long that the rate was kept."""
        with connected(guarded) as peer:
            peer.send(*[get(f"{USERS}?entity_ids=a", f"Authorization: Bearer {busy}")] * 3 * RATE)
            return [(answer, body) for answer, body in (peer.answer() for _ in range(3 * RATE)) if answer.status != 200]

    bursts: list[list[tuple[HTTPResponse, bytes]]] = []

    def is_refused() -> bool:
        bursts.append(burst())
        return bool(bursts[-1])

    eventually(is_refused)
    refused = bursts[-1]
    assert {(answer.status, answer.getheader("retry-after")) for answer, _ in refused} == {(429, "1")}
    assert {json.loads(body)["code"] for _, body in refused} == {"rate-limited"}
    assert guarded.get("/feature-groups", bearer(quiet)).status == 200
    eventually(lambda: guarded.get(f"{USERS}?entity_ids=a", bearer(busy)).status == 200)


def test_a_network_is_not_answered_without_tokens(stack: Settings) -> None:
    named = {"FS_HOME": str(stack.home), "FS_SERVING_HOST": "0.0.0.0"}
    assert ServingSettings.load(named).tokens_required
    with pytest.raises(StackError) as error:
        ServingSettings.load({**named, "FS_SERVING_TOKENS": "none"})
    assert error.value.code == "open-address"
    here = {"FS_HOME": str(stack.home)}
    assert not ServingSettings.load(here).tokens_required
    assert ServingSettings.load({**here, "FS_SERVING_TOKENS": "required"}).tokens_required
    with pytest.raises(StackError) as error:
        ServingSettings.load({**here, "FS_SERVING_TOKENS": "perhaps"})
    assert error.value.code == "serving-tokens"
