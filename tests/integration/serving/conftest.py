"""What the tests of the server share: a shop in a registry and a Redis, and one server process that reads both."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import create_engine, text

from feature_store.online.connection import connect
from feature_store.registry.store import Registry
from feature_store.settings import Settings
from tests.integration.own_valkey import free_port
from tests.integration.serving.server_process import ServerProcess
from tests.integration.serving.shop import Shop

NewRegistry = Callable[[str], Registry]


@pytest.fixture(scope="session")
def new_registry(stack: Settings) -> Iterator[NewRegistry]:
    """Makes a registry in an empty database of this name."""
    made = []

    def make(database: str) -> Registry:
        server = create_engine(stack.database_url("postgres"), isolation_level="AUTOCOMMIT")
        with server.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {database}"))
        server.dispose()
        made.append(Registry(stack.database_url(database)))
        made[-1].upgrade()
        return made[-1]

    yield make
    for registry in made:
        registry.engine.dispose()


@pytest.fixture(scope="session")
def serving_registry(new_registry: NewRegistry) -> Registry:
    """The registry that the server reads."""
    return new_registry("registry_of_serving_tests")


@pytest.fixture(scope="session")
def shop(stack: Settings, serving_registry: Registry) -> Shop:
    """Recorded definitions and rows in Redis."""
    with connect(stack.redis_url) as redis:
        return Shop.fill(serving_registry, redis)


@pytest.fixture(scope="session")
def server(serving_registry: Registry, shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that reads the shop."""
    assert shop.views
    process = ServerProcess(tmp_path_factory.mktemp("serving"), address_of(serving_registry))
    process.start()
    yield process
    process.stop()


@pytest.fixture(scope="session")
def python_server(
    serving_registry: Registry, shop: Shop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server that reads the shop without the native core."""
    assert shop.views
    given = {"FS_SERVING_NATIVE": "off"}
    process = ServerProcess(tmp_path_factory.mktemp("python"), address_of(serving_registry), environment=given)
    process.start()
    yield process
    process.stop()


def address_of(registry: Registry) -> str:
    """The URL of a registry, with its password."""
    return registry.engine.url.render_as_string(hide_password=False)


POSTING_DATABASE = "registry_of_registration"


@pytest.fixture(scope="session")
def posting_registry(stack: Settings, new_registry: NewRegistry) -> Registry:
    """A registry that groups are posted to."""
    made = new_registry(POSTING_DATABASE)
    with connect(stack.redis_url) as redis:
        Shop.fill(made, redis)
    return made


@pytest.fixture(scope="session")
def posting_server(posting_registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that groups are posted to; no Dagster is where it looks for it."""
    changes = {"dagster_url": f"http://127.0.0.1:{free_port()}"}
    process = ServerProcess(tmp_path_factory.mktemp("registration"), address_of(posting_registry), changes)
    process.start()
    yield process
    process.stop()
