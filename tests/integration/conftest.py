"""What the integration tests share beside the stack: one Spark session and the catalog."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pyiceberg.catalog import Catalog

from feature_store.offline.catalog import open_catalog
from feature_store.offline.session import spark_session
from feature_store.settings import Settings
from tests.integration.kernel_harness import KernelHarness, start_harness

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture(scope="session")
def spark(stack: Settings) -> Iterator[SparkSession]:
    """The one Spark session of all tests."""
    with spark_session(stack, "tests") as session:
        yield session


@pytest.fixture(scope="session")
def catalog(stack: Settings) -> Catalog:
    """The stack's Iceberg catalog."""
    return open_catalog(stack)


@pytest.fixture(scope="session")
def harness(tmp_path_factory: pytest.TempPathFactory, jars_folder: Path) -> Iterator[KernelHarness]:
    """The window kernel and the event parser in a JVM of the session's own."""
    running = start_harness(tmp_path_factory.mktemp("kernel"), jars_folder)
    yield running
    running.close()
    print(f"{running.streams} streams went through the window kernel")  # noqa: T201 - for pytest -s
