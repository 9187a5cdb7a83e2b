"""The services of the simulation are those of the integration tests; says how much was simulated."""

from __future__ import annotations

import pytest

from tests.integration.conftest import catalog, harness, redis, spark
from tests.simulation.batch_life import STEPS

__all__ = ["catalog", "harness", "redis", "spark"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says which steps the sequences took."""
    if STEPS:
        options = terminalreporter.config.option
        terminalreporter.section(f"simulated: up to {options.sequences} sequences of each life, seed {options.seed}")
        for what, count in sorted(STEPS.items()):
            terminalreporter.line(f"{count:6,} {what}")
