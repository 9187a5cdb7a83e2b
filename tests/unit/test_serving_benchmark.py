"""The pure parts of the benchmark of serving: what programs told is read, rounds are chosen and compared."""

from __future__ import annotations

import pytest

from benchmarks.serving.measurement import Measurement, measure_calls, read_counts
from benchmarks.serving.report import quietest, table


def test_counts_are_read_from_the_line_of_a_program() -> None:
    counts = read_counts("Running 2s test\nRESULT 400 2000000 500 900 1200 4000 0\nCPU 12\n")
    assert counts.latencies == (0.5, 0.9, 1.2, 4.0)
    measured = counts.measurement(cpu_seconds=0.1)
    assert (measured.rate, measured.cpu) == (200, 250)


@pytest.mark.parametrize("text", ["", "RESULT 4 2000000 5 5 5 5 1"])
def test_a_round_in_which_a_request_failed_does_not_count(text: str) -> None:
    with pytest.raises(ValueError, match=text or "^$"):
        read_counts(text)


def test_calls_are_counted_one_by_one() -> None:
    calls: list[None] = []
    measured = measure_calls(lambda: calls.append(None), 0)
    assert len(calls) == 11  # the first one is not measured
    assert measured.rate > 0
    median, *_, longest = measured.latencies
    assert median is not None
    assert longest is not None
    assert median <= longest


def test_the_quietest_round_is_told_and_the_best_ones_are_compared() -> None:
    disturbed, ours = Measurement(4_000, 30, (1, 2, 3, 4)), Measurement(3_000, 20, (1, 2, 3, 4))
    feast, floor = Measurement(100, 800, (9, 9, 9, 9)), Measurement(6_000, 5, (1, 1, 1, None))
    assert quietest([disturbed, ours]) is ours
    title, head, load, *rows = table("T", {"R1": {"columns": [disturbed, ours], "Feast": [feast], "C client": [floor]}})
    assert (title, load) == ("T", "R1")
    assert head.split()[-4:] == ["Feast", "CPU", "x", "floor"]
    assert rows[0].split() == [
        *("columns", "3,000", "3,000", "4,000", "20.0", "1.00", "2.00", "3.00", "4.00", "40.0", "40.0", "67%")
    ]
    assert rows[1].split()[-2:] == ["9.00", "2%"]
    assert rows[2].split()[-4:] == ["1.00", "-", "60.0", "160.0"]


def test_alone_nothing_is_compared() -> None:
    row = [*table("T", {"R1": {"columns": [Measurement(1, 1, (1, 1, 1, 1))]}})][-1]
    assert row.split() == ["columns", "1", "1", "1", "1.0", "1.00", "1.00", "1.00", "1.00"]
