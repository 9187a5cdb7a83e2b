"""Sequences that failed once, as the simulation found them or as small as they can be told."""

from __future__ import annotations

import pytest

from tests.integration.kernel_harness import KernelHarness
from tests.simulation.group_store import Services
from tests.simulation.stream_life import StreamLife

TOO_LATE = 300
"""Minutes: the group takes events that are at most 70 minutes late."""


@pytest.fixture
def life(services: Services, harness: KernelHarness) -> StreamLife:
    class Life(StreamLife):
        pass

    Life.services, Life.harness = services, harness
    found = Life()
    found.begin(ttl=None, copies=False, buckets=1)
    return found


def a_day_with_an_event_that_comes_too_late(life: StreamLife) -> None:
    """Two events near each other, of which the second comes when its rows are final."""
    life.events_arrive([("u1", 0, 1)])
    life.time_passes(TOO_LATE)
    life.events_arrive([("u1", TOO_LATE, 2)])
    life.time_passes(1500)
    life.log_is_committed(10)


def test_a_job_that_was_behind_does_not_undo_a_reconcile(life: StreamLife) -> None:
    """It writes the day's rows when batch has computed them already, without what comes too late for it."""
    a_day_with_an_event_that_comes_too_late(life)
    life.day_is_reconciled(day=0, death=None)
    life.teardown()


def test_a_job_that_goes_on_from_an_old_state_does_not_undo_a_reconcile(life: StreamLife) -> None:
    """It writes again what it had written. Seed 102, where the job was restored with events of three more days."""
    a_day_with_an_event_that_comes_too_late(life)
    life.quiet()
    life.job_is_restored(back=3)
    life.teardown()
