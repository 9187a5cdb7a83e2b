"""What the tests of the server share: a shop in a registry and a Redis, and one server process that reads both."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis
from sqlalchemy import create_engine, text

from feature_store.registry.store import Registry
from feature_store.settings import Settings
from tests.integration.serving.server_process import ServerProcess
from tests.integration.serving.shop import Shop

DATABASE = "registry_of_serving_tests"


@pytest.fixture(scope="module")
def serving_registry(stack: Settings) -> Iterator[Registry]:
    """A registry of the module alone."""
    server = create_engine(stack.database_url("postgres"), isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)"))
        connection.execute(text(f"CREATE DATABASE {DATABASE}"))
    registry = Registry(stack.database_url(DATABASE))
    registry.upgrade()
    yield registry
    registry.engine.dispose()


@pytest.fixture(scope="module")
def shop(serving_registry: Registry, redis: Redis) -> Shop:
    """Recorded definitions and rows in Redis."""
    return Shop.fill(serving_registry, redis)


@pytest.fixture(scope="module")
def server(stack: Settings, shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that reads the shop."""
    assert shop.views
    folder = tmp_path_factory.mktemp("serving")
    process = ServerProcess(folder, stack.database_url(DATABASE))
    process.start()
    yield process
    process.stop()
