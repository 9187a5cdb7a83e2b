"""Sequences of everything that can happen to a group; after every quiet moment everybody agrees.

`./fs test tests/simulation --sequences N --seed S` runs as many as one wants; a failing one is printed step by step.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test
from pyiceberg.catalog import Catalog
from redis import Redis

from feature_store.dtypes import from_micros
from feature_store.offline.materialize import materialize_span
from feature_store.plan.nodes import GroupPlan
from feature_store.settings import Settings
from tests.integration.kernel_harness import KernelHarness
from tests.simulation.batch_life import BatchLife
from tests.simulation.group_store import GroupStore, Services
from tests.simulation.stream_life import StreamLife

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

STEPS_OF_A_SEQUENCE = 30
SPARKS_SHARE = 25
"""One of so many sequences of a batch group is computed by Spark, each of whose runs takes seconds."""

Simulate = Callable[[type[RuleBasedStateMachine], int], None]


@pytest.fixture
def services(catalog: Catalog, redis: Redis, tmp_path: Path) -> Services:
    return Services(catalog, redis, tmp_path)


@pytest.fixture
def sequences(request: pytest.FixtureRequest) -> int:
    """How many sequences of each life to run."""
    return int(request.config.getoption("--sequences"))


@pytest.fixture
def simulate(request: pytest.FixtureRequest) -> Simulate:
    """Runs sequences of a life, at least one."""
    number = int(request.config.getoption("--seed"))

    def run(life: type[RuleBasedStateMachine], count: int) -> None:
        run_state_machine_as_test(
            seed(number)(life),
            settings=settings(
                max_examples=max(count, 1),
                stateful_step_count=STEPS_OF_A_SEQUENCE,
                deadline=None,
                database=None,
                report_multiple_bugs=False,
                phases=[Phase.generate, Phase.shrink],
                suppress_health_check=list(HealthCheck),
            ),
        )

    return run


def test_life_of_a_batch_group(services: Services, simulate: Simulate, sequences: int) -> None:
    class Life(BatchLife):
        pass

    Life.services = services
    simulate(Life, sequences)


def test_life_of_a_batch_group_computed_by_spark(
    stack: Settings, quick: SparkSession, services: Services, simulate: Simulate, sequences: int
) -> None:
    def run(store: GroupStore, plan: GroupPlan, after: int, until: int) -> None:
        instant = from_micros(store.now)
        done = materialize_span(quick, stack, services.catalog, plan, from_micros(after), from_micros(until))
        assert done.snapshot_id
        assert instant + timedelta(0) == instant

    class Life(BatchLife):
        compute = staticmethod(run)

    Life.services = services
    simulate(Life, sequences // SPARKS_SHARE)


def test_life_of_a_streaming_group(
    services: Services, harness: KernelHarness, simulate: Simulate, sequences: int
) -> None:
    class Life(StreamLife):
        pass

    Life.services, Life.harness = services, harness
    simulate(Life, sequences)
