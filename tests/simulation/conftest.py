"""The services of the simulation are those of the integration tests; says how much was simulated."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyiceberg.catalog import Catalog
from redis import Redis

from tests.integration.conftest import catalog, harness, redis, spark
from tests.simulation.batch_life import STEPS
from tests.simulation.group_store import Services

__all__ = ["catalog", "harness", "redis", "spark"]

SECONDS_OF_A_SEQUENCE = 30
"""It takes a tenth of that on a machine without other work."""


@pytest.fixture
def services(catalog: Catalog, redis: Redis, tmp_path: Path) -> Services:
    return Services(catalog, redis, tmp_path)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Gives a test of the simulation time for its sequences."""
    seconds = 900 + SECONDS_OF_A_SEQUENCE * int(config.getoption("--sequences"))
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(seconds))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says which steps the sequences took."""
    if STEPS:
        options = terminalreporter.config.option
        terminalreporter.section(f"simulated: up to {options.sequences} sequences of each life, seed {options.seed}")
        for what, count in sorted(STEPS.items()):
            terminalreporter.line(f"{count:6,} {what}")
