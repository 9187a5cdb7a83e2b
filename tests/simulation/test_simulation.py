"""Sequences of everything that can happen to a group; after every quiet moment everybody agrees.

`./fs test tests/simulation --sequences N --seed S` runs as many as one wants; a failing one is printed step by step.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from feature_store.settings import Settings
from tests.integration.kernel_harness import KernelHarness
from tests.simulation.batch_life import BatchLife
from tests.simulation.group_store import Services
from tests.simulation.spark_life import SparkLife, by_spark
from tests.simulation.stream_life import StreamLife

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

STEPS_OF_A_SEQUENCE = 30
STEPS_WITH_SPARK = 12
SPARK_SHARE = 25
"""One sequence with Spark for so many of the others."""


class Simulate(Protocol):
    """Runs sequences of a life, at least one."""

    def __call__(self, life: type[RuleBasedStateMachine], count: int, steps: int = STEPS_OF_A_SEQUENCE) -> None: ...


@pytest.fixture
def sequences(request: pytest.FixtureRequest) -> int:
    """How many sequences of each life to run."""
    return int(request.config.getoption("--sequences"))


@pytest.fixture
def simulate(request: pytest.FixtureRequest) -> Simulate:
    number = int(request.config.getoption("--seed"))

    def run(life: type[RuleBasedStateMachine], count: int, steps: int = STEPS_OF_A_SEQUENCE) -> None:
        run_state_machine_as_test(
            seed(number)(life),
            settings=settings(
                max_examples=max(count, 1),
                stateful_step_count=steps,
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


def test_life_of_a_streaming_group(
    services: Services, harness: KernelHarness, simulate: Simulate, sequences: int
) -> None:
    class Life(StreamLife):
        pass

    Life.services, Life.harness = services, harness
    simulate(Life, sequences)


def test_life_of_a_batch_group_in_spark(
    services: Services, spark: SparkSession, stack: Settings, simulate: Simulate, sequences: int
) -> None:
    class Life(SparkLife):
        pass

    Life.services, Life.compute = services, staticmethod(partial(by_spark, spark, stack))
    simulate(Life, sequences // SPARK_SHARE, STEPS_WITH_SPARK)
