"""What the integration tests share beside the stack: one Spark session, the catalog, Redis, a registry of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pyiceberg.catalog import Catalog
from redis import Redis
from sqlalchemy import create_engine, text

from feature_store.offline.catalog import open_catalog
from feature_store.offline.session import spark_session
from feature_store.online.connection import connect
from feature_store.online.reader import OnlineReader
from feature_store.registry.store import Registry
from feature_store.settings import Settings
from tests.integration.compared import COMPARED
from tests.integration.kernel_harness import KernelHarness, start_harness
from tests.integration.own_cluster import OwnCluster, running_cluster
from tests.integration.registry_setting import OWN_DATABASE

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

INTERPRETED = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}


@pytest.fixture(scope="session")
def spark(stack: Settings) -> Iterator[SparkSession]:
    """The one Spark session of all tests.

    It interprets its plans: to write, compile and load Java for each takes half of the time that these small data need.
    """
    with spark_session(stack, "tests") as session:
        for name, value in INTERPRETED.items():
            session.conf.set(name, value)
        yield session


@pytest.fixture
def compiling(spark: SparkSession) -> Iterator[None]:
    """Lets the session compile its plans, as it does outside of tests."""
    for name in INTERPRETED:
        spark.conf.unset(name)
    yield
    for name, value in INTERPRETED.items():
        spark.conf.set(name, value)


@pytest.fixture
def quick(spark: SparkSession) -> Iterator[SparkSession]:
    """The session with one shuffle partition: these data are tiny."""
    before = spark.conf.get("spark.sql.shuffle.partitions")
    spark.conf.set("spark.sql.shuffle.partitions", "1")
    spark.conf.set("spark.sql.adaptive.enabled", "false")
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "3")
    yield spark
    spark.conf.unset("spark.sql.execution.arrow.maxRecordsPerBatch")
    spark.conf.set("spark.sql.shuffle.partitions", before)
    spark.conf.set("spark.sql.adaptive.enabled", "true")


@pytest.fixture(scope="session")
def catalog(stack: Settings) -> Catalog:
    """The stack's Iceberg catalog."""
    return open_catalog(stack)


@pytest.fixture(scope="module")
def redis(stack: Settings) -> Iterator[Redis]:
    """The stack's online store."""
    with connect(stack.redis_url) as client:
        yield client


@pytest.fixture(scope="module")
def reader(stack: Settings) -> Iterator[OnlineReader]:
    """A reader of the online store."""
    with OnlineReader(stack.redis_url) as reader:
        yield reader


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnCluster]:
    """A Redis Cluster whose nodes nobody kills."""
    with running_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="session")
def harness(tmp_path_factory: pytest.TempPathFactory, jars_folder: Path) -> Iterator[KernelHarness]:
    """The window kernel and the event parser in a JVM of the session's own."""
    running = start_harness(tmp_path_factory.mktemp("kernel"), jars_folder)
    yield running
    running.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says how much the random tests have compared."""
    if COMPARED:
        terminalreporter.section("compared with the reference")
        for what, count in sorted(COMPARED.items()):
            terminalreporter.line(f"{count:6,} {what}")


@pytest.fixture
def registry(stack: Settings) -> Iterator[Registry]:
    """A registry in an empty database of these tests' own, migrated."""
    server = create_engine(stack.database_url("postgres"), isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {OWN_DATABASE} WITH (FORCE)"))
        connection.execute(text(f"CREATE DATABASE {OWN_DATABASE}"))
    registry = Registry(stack.database_url(OWN_DATABASE))
    registry.upgrade()
    yield registry
    registry.engine.dispose()
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {OWN_DATABASE} WITH (FORCE)"))
    server.dispose()
