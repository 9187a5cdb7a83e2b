"""Histograms over shared bins and their divergences, against plain loops; and that chance raises no alarm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store.dtypes import BOOL, EMBEDDING, FLOAT, INT, LIST, STRING, TIMESTAMP, DType, arrow_type
from feature_store.plan.schema import Column
from feature_store.skew.distribution import BINS, REST, Histogram, histograms, summary
from feature_store.skew.divergence import divergence
from feature_store.skew.report import FeatureSkew, compare_feature


def plain_js(training: Sequence[int], serving: Sequence[int]) -> float:
    p, q = ([count / sum(side) for count in side] for side in (training, serving))
    total = 0.0
    for a, b in zip(p, q, strict=True):
        total += (a * math.log2(2 * a / (a + b)) if a else 0) / 2 + (b * math.log2(2 * b / (a + b)) if b else 0) / 2
    return total


def plain_psi(training: Sequence[int], serving: Sequence[int]) -> float:
    p, q = ([max(count / sum(side), 1e-4) for count in side] for side in (training, serving))
    return sum((b - a) * math.log(b / a) for a, b in zip(p, q, strict=True))


def plain_ks(training: Sequence[float], serving: Sequence[float]) -> float:
    def share(side: Sequence[float], bound: float) -> float:
        return sum(value <= bound for value in side) / len(side)

    return max(abs(share(training, bound) - share(serving, bound)) for bound in [*training, *serving])


counts = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=12).filter(
    lambda pairs: all(sum(side) for side in zip(*pairs, strict=True))
)


@given(counts)
def test_divergences_are_those_of_plain_loops(pairs: list[tuple[int, int]]) -> None:
    training, serving = zip(*pairs, strict=True)
    found = divergence(Histogram("value", ("x",) * len(pairs), np.array(training), np.array(serving)))
    assert found is not None
    assert found.js == pytest.approx(plain_js(training, serving), abs=1e-7)
    assert found.psi == pytest.approx(plain_psi(training, serving))
    assert 0 <= found.interval[0] <= found.interval[1] <= 1
    assert 0 <= found.p_value <= 1


@given(*[st.lists(st.integers(-30, 30) | st.floats(-1e6, 1e6), min_size=1, max_size=60)] * 2)
def test_numbers_are_in_the_bins_that_their_labels_say(training: list[float], serving: list[float]) -> None:
    (found,) = histograms(pa.array(training, pa.float64()), pa.array(serving, pa.float64()), FLOAT)
    assert (found.training.sum(), found.serving.sum()) == (len(training), len(serving))
    assert len(found.labels) == len(found.training) == len(found.serving) <= BINS + 2
    assert found.training[0] == found.training[-1] == 0
    assert found.serving[0] == sum(value < min(training) for value in serving)
    assert found.serving[-1] == sum(value > max(training) for value in serving)
    measured = divergence(found)
    assert measured is not None
    assert measured.ks == pytest.approx(plain_ks(training, serving))


def test_bins_hold_equal_shares_of_training() -> None:
    (found,) = histograms(pa.array(range(1_000)), pa.array([5, -1, 2_000]), INT)
    assert found.training.tolist() == [0, *[50] * BINS, 0]
    assert (found.serving[0], found.serving[1], found.serving[-1]) == (1, 1, 1)


def test_categories_are_the_top_values_and_the_rest() -> None:
    words = [f"w{i:02}" for i in range(40) for _ in range(40 - i)]
    (found,) = histograms(pa.array([*words, None]), pa.array(["new"] * 30 + ["w00"]), STRING)
    assert found.labels == ("new", *(f"w{i:02}" for i in range(BINS - 2)), REST)
    assert found.training.tolist() == [0, *range(40, 40 - (BINS - 2), -1), sum(range(1, 40 - (BINS - 2) + 1))]
    assert found.serving.tolist() == [30, 1, *[0] * (BINS - 2)]
    (truth,) = histograms(pa.array([True, False, True]), pa.array([False]), BOOL)
    assert dict(zip(truth.labels, truth.training.tolist(), strict=True)) == {"True": 2, "False": 1, REST: 0}


def test_embeddings_are_looked_at_by_norm_and_distance_lists_by_length_and_members() -> None:
    kind = EMBEDDING(2)
    training, serving = ([[3.0, 4.0], [3.0, 4.0], None], [[-3.0, -4.0], [0.0, 0.0]])
    norm, distance = histograms(*(pa.array(side, arrow_type(kind)) for side in (training, serving)), kind)
    assert (norm.facet, distance.facet) == ("norm", "distance")
    assert norm.numbers is not None
    assert distance.numbers is not None
    assert norm.numbers[0].tolist() == [5.0, 5.0]
    assert distance.numbers[0] == pytest.approx([0, 0])
    assert distance.numbers[1] == pytest.approx([2, 1])
    words = LIST(STRING)
    length, members = histograms(
        pa.array([["a", "b"], [], None], arrow_type(words)), pa.array([["a"]], arrow_type(words)), words
    )
    assert length.numbers is not None
    assert length.numbers[0].tolist() == [2, 0]
    assert dict(zip(members.labels, members.training.tolist(), strict=True)) == {"a": 1, "b": 1, REST: 0}


def test_a_side_without_values_has_no_divergence() -> None:
    for dtype in (INT, STRING, EMBEDDING(2), LIST(INT), TIMESTAMP):
        kind = arrow_type(dtype)
        empty, none = pa.array([], kind), pa.array([None], kind)
        assert all(divergence(found) is None for found in histograms(empty, none, dtype))
    assert summary(pa.array([], pa.int64()), INT).mean is None


def test_a_summary_is_that_of_the_values() -> None:
    found = summary(pa.array([1, None, 3, None]), INT)
    assert (found.count, found.null_rate, found.mean, found.stddev) == (4, 0.5, 2.0, 1.0)


def compared(dtype: DType, training: Sequence[Any], serving: Sequence[Any]) -> FeatureSkew:
    sides = (pa.array(side, arrow_type(dtype)) for side in (training, serving))
    return compare_feature(Column("x", dtype), "orders@1", *sides)


def test_chance_raises_no_alarm_and_a_shift_does() -> None:
    """A fifth of these pairs of small samples has a divergence above the threshold, by chance."""
    draws = np.random.default_rng(7)
    beyond = 0
    for _ in range(400):
        size = int(draws.integers(1, 60))
        found = compared(FLOAT, draws.normal(size=1_000), draws.normal(size=size))
        assert not found.is_skewed, found
        beyond += (found.js or 0) > found.threshold
    assert beyond > 80
    assert not compared(STRING, list("abcd") * 50, list("abcd") * 3).is_skewed
    assert compared(FLOAT, draws.normal(size=1_000), draws.normal(2, size=200)).is_skewed
    assert compared(INT, [5] * 300, [3] * 300).is_skewed
    assert compared(STRING, ["a"] * 300, ["a"] * 150 + ["b"] * 150).is_skewed
    noon = datetime(2025, 3, 1, tzinfo=UTC)
    times = [noon + timedelta(minutes=i) for i in range(500)]
    assert compared(TIMESTAMP, times, [time + timedelta(hours=9) for time in times]).is_skewed


def test_nulls_are_skewed_by_their_share() -> None:
    assert compared(INT, [1] * 300, [1] * 200 + [None] * 100).is_skewed
    assert not compared(INT, [1] * 300, [1] * 280 + [None] * 20).is_skewed
    assert not compared(INT, [1] * 300, [1, None]).is_skewed, "one of two is chance"
    assert compared(INT, [1] * 300, [None] * 300).is_skewed
