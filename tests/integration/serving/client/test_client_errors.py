"""What clients are refused, what they keep to themselves, and what happens to them in a fork."""

from __future__ import annotations

import logging
import subprocess
import sys
import traceback
from typing import Any, cast

import pytest

from feature_store import (
    AsyncFeatureStoreClient,
    FeatureStoreClient,
)
from feature_store.errors import (
    AccessError,
    FeatureStoreError,
    InputError,
    NotFoundError,
    StackError,
    TokenError,
)
from feature_store.settings import REPOSITORY
from tests.integration.serving.client.setting import Callers


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
