"""The capacity model, by hand: the amounts of requests, what is fitted, and what follows for a load."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.serving.capacity import (
    GIB,
    Figures,
    Formula,
    Machines,
    Point,
    Workload,
    capacity,
    commands,
    fit_nonnegative,
    lines,
    read_figures,
    redis_cpu,
    server_cpu,
    shards_asked,
)

FIGURES = Figures(
    server_cpu=Formula(request=40, feature=0, row=1, value=0.1),
    redis_cpu=Formula(request=5, feature=0, row=1, value=0),
    answer=Formula(request=300, feature=20, row=50, value=8),
    stored=Formula(request=10, feature=0, row=30, value=8),
    key=100,
    value=8,
    shard_cpu=6,
    process=GIB / 8,
)
MACHINES = Machines(busy=0.5, full=0.5, node_gib=16, node_vcpus=2, replicas=1, vcpu_hour=0.04, gib_hour=0.005)
LOAD = Workload(rate=100_000, rows=1, entities=10_000_000, groups=2, features=10, groups_read=1)


def test_a_formula_is_what_is_said_of_its_parts() -> None:
    formula = Formula(request=40, feature=2, row=3, value=0.5)
    assert formula.of(1, 10) == 40 + 20 + 3 + 5
    assert formula.of(100, 10) == 40 + 20 + 300 + 500
    assert formula.of(100, 10, requests=3) == 120 + 20 + 300 + 500


AMOUNTS = st.floats(0, 1_000).map(lambda amount: round(amount, 3))


@given(st.builds(Formula, request=st.floats(1, 1_000), feature=AMOUNTS, row=AMOUNTS, value=AMOUNTS))
def test_amounts_without_noise_are_found_again(formula: Formula) -> None:
    points = [Point(rows, width, formula.of(rows, width)) for rows in (1, 100) for width in (10, 50, 500)]
    fitted = Formula.fit(points)
    assert fitted.worst(points) < 1e-3
    assert fitted.of(30, 100) == pytest.approx(formula.of(30, 100), rel=1e-2)
    assert min(vars(fitted).values()) >= 0


def test_what_would_be_negative_is_left_out() -> None:
    """10 at one feature and 8 at ten: no feature can take less than nothing."""
    fitted = Formula.fit([Point(1, 1, 10.0), Point(1, 10, 8.0), Point(100, 1, 10.0), Point(100, 10, 8.0)])
    assert min(vars(fitted).values()) >= 0
    assert fitted.of(1, 1) == pytest.approx(9, abs=0.5)


def test_one_row_asks_one_shard_and_many_rows_ask_all() -> None:
    assert shards_asked(1, 3) == pytest.approx(1)
    assert shards_asked(2, 2) == pytest.approx(1.5)
    assert shards_asked(100, 1) == 1
    assert shards_asked(1_000, 3) == pytest.approx(3)


def test_a_cluster_is_asked_by_a_command_for_each_slot() -> None:
    figures = replace(FIGURES, command_cpu=0.5, redis_command_cpu=0.25)
    assert (commands(100, 1), commands(1, 3)) == (1, 1)
    assert 99 < commands(100, 3) < 100  # few of them share one of 16,384 slots
    asked, slots = shards_asked(100, 3), commands(100, 3)
    assert server_cpu(figures, 100, 200, 10, 3) == pytest.approx(440 + (asked - 1) * 6 + (slots - 1) * 0.5)
    assert redis_cpu(figures, 100, 200, 10, 3) == pytest.approx(200 + 5 * asked + (slots - asked) * 0.25)
    assert server_cpu(figures, 100, 200, 10, 1) == 440
    assert redis_cpu(figures, 100, 200, 10, 1) == 205


@given(st.floats(0, 10), st.floats(0, 10))
def test_what_a_cluster_takes_more_is_found_again(shard: float, command: float) -> None:
    terms = [(shards_asked(rows, 3) - 1, commands(rows, 3) - 1) for rows in (2, 20, 100)]
    more = [of_shards * shard + of_commands * command for of_shards, of_commands in terms]
    assert fit_nonnegative(terms, more, [50 + each for each in more]) == pytest.approx([shard, command], abs=1e-6)


def test_less_than_nothing_is_nothing() -> None:
    assert fit_nonnegative([(1, 2), (2, 1)], [-1, -2], [5, 5]) == [0, 0]


def test_a_load_of_one_row_by_hand() -> None:
    found = capacity(FIGURES, LOAD, MACHINES)
    assert found.server_cpu == pytest.approx(42)  # 40 + 1 row + 10 values of 0.1
    assert found.processes == 9  # 100,000 x 42 us are 4.2 cores, half busy 8.4
    assert found.data == pytest.approx(10e6 * 2 * 180 / GIB)  # 3.35 GiB
    assert found.shards_by_memory == 1  # half of 16 GiB are full
    assert (found.redis_cpu, found.shards_by_cpu) == (pytest.approx(6), 1)  # 0.6 cores, half busy 1.2, by two copies
    assert found.nodes == 2
    assert found.memory == pytest.approx(2 * 10e6 * 2 * 180 / 0.5 / GIB + 9 / 8)
    assert found.server_out == pytest.approx(100_000 * (300 + 200 + 50 + 80) * 8 / 1e9)
    assert found.redis_out == pytest.approx(100_000 * (10 + 30 + 80) * 8 / 1e9)
    assert found.hour == pytest.approx((9 + 2 * 2) * 0.04 + found.memory * 0.005)


def test_memory_or_cpu_decides_on_the_shards() -> None:
    large = capacity(FIGURES, replace(LOAD, entities=1_000_000_000), MACHINES)
    assert (large.shards, large.shards_by_memory) == (42, 42)  # 335 GiB by 8
    hot = capacity(FIGURES, replace(LOAD, rate=1_000_000), replace(MACHINES, replicas=0))
    assert (hot.shards, hot.shards_by_cpu) == (12, 12)  # 6 cores, half busy


@given(st.integers(1, 2_000), st.integers(1, 5_000_000), st.integers(0, 3))
def test_shards_have_the_cpu_that_asking_all_of_them_takes(rows: int, rate: int, replicas: int) -> None:
    """More shards are more commands for the same rows; whatever is found has to be enough for itself."""
    machines = replace(MACHINES, replicas=replicas)
    found = capacity(FIGURES, replace(LOAD, rate=rate, rows=rows), machines)
    assert found.nodes * machines.busy * 1e6 >= rate * found.redis_cpu * (1 - 1e-9)
    assert found.shards >= found.shards_by_memory
    assert found.shards == max(found.shards_by_memory, found.shards_by_cpu)
    assert found.processes * machines.busy * 1e6 >= rate * found.server_cpu * (1 - 1e-9)


def test_measured_figures_are_there_and_a_table_is_made_of_them() -> None:
    figures = read_figures()
    found = capacity(figures, Workload(), Machines())
    table = lines(Workload(), Machines(), found)
    assert table[0].split(maxsplit=1)[1] == (
        "1,000,000 requests/s for 1 of 10 groups of 50 features of an entity; 100,000,000 entities"
    )
    assert table[1].startswith(f"server processes     {found.processes:,}: ")
    assert found.data == pytest.approx(1e8 * 10 * (figures.key + 50 * figures.value) / GIB)
