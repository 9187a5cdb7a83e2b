"""What the tests of clients share: a server with tokens, and the clients of two callers."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import pytest

from feature_store import (
    AsyncFeatureStoreClient,
    FeatureStoreClient,
)
from feature_store.online.connection import connect
from feature_store.registry.access.store import AccessControl
from feature_store.registry.access.tokens import Principal
from feature_store.registry.store import Registry
from feature_store.settings import Settings
from tests.integration.serving.client.setting import LOADS, PATIENT, TOTALS, Callers
from tests.integration.serving.conftest import NewRegistry, address_of
from tests.integration.serving.server_process import ServerProcess
from tests.integration.serving.shop import GROUPS, VIEWS, Shop


@pytest.fixture(scope="session")
def client_registry(new_registry: NewRegistry) -> Registry:
    return new_registry("registry_of_client_tests")


@pytest.fixture(scope="session")
def larger_shop(stack: Settings, client_registry: Registry) -> Shop:
    """The shop with features that overflow."""
    with connect(stack.redis_url) as redis:
        return Shop.fill(client_registry, redis, (*GROUPS, LOADS), (*VIEWS, TOTALS))


@pytest.fixture(scope="session")
def serving(
    client_registry: Registry, tokens: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server that knows the tokens when it starts: it would hear of later ones a moment after they are made."""
    assert tokens
    client_registry.record_usage("ranking@1", "ranker", "serving")
    process = ServerProcess(tmp_path_factory.mktemp("client"), address_of(client_registry), {"tokens_required": True})
    process.start()
    yield process
    process.stop(signal.SIGKILL)  # the end is tested elsewhere; it takes seconds


@pytest.fixture(scope="session")
def tokens(client_registry: Registry, larger_shop: Shop) -> dict[str, str]:
    assert larger_shop.views
    control = AccessControl(client_registry.engine)
    owner, stranger = Principal.parse("team:shop"), Principal.parse("service:stranger")
    control.grant(stranger, "read", "pair_facts", "tests")
    nobody = Principal.parse("service:nobody")
    named = {"owner": owner, "stranger": stranger, "nobody": nobody}
    return {name: control.create_token(name, principal, "tests").secret for name, principal in named.items()}


@pytest.fixture(scope="session")
def url(serving: ServerProcess) -> str:
    return f"http://localhost:{serving.port}"


@pytest.fixture(scope="session")
def callers(url: str, tokens: dict[str, str]) -> Iterator[Callers]:
    seeing = ("owner", "stranger")
    threads = {name: FeatureStoreClient(url, tokens[name], deadline=PATIENT) for name in seeing}
    events = {name: AsyncFeatureStoreClient(url, tokens[name], deadline=PATIENT) for name in seeing}
    yield Callers(threads, events)
    for client in threads.values():
        client.close()


@pytest.fixture(scope="session")
def runner(callers: Callers) -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner
        for client in callers.events.values():
            runner.run(client.close())
