"""Splits and samples, compared with plain loops over the rows."""

from __future__ import annotations

import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.datasets.filters import uniform
from feature_store.datasets.rows import DatasetRows
from feature_store.errors import InputError
from tests.unit.datasets.dataset_cases import NOON, Row, row, stored

hours = st.lists(st.integers(0, 60).map(lambda quarter: quarter / 4), min_size=1, max_size=25)
times = st.integers(-4, 70).map(lambda quarter: NOON + timedelta(hours=quarter / 4))
MASK = 2**64 - 1


def rows_of(part: DatasetRows | None) -> list[Row]:
    assert part is not None
    return part.to_arrow().to_pylist()


def between(rows: list[Row], start: datetime | None, end: datetime | None) -> list[Row]:
    after = [one for one in rows if start is None or one["label_timestamp"] >= start]
    return [one for one in after if end is None or one["label_timestamp"] < end]


@settings(max_examples=60, deadline=None)
@given(hours=hours, first=times, second=times, gap=st.integers(0, 30).map(lambda quarter: timedelta(hours=quarter / 4)))
def test_parts_are_apart_by_the_gap(hours: list[float], first: datetime, second: datetime, gap: timedelta) -> None:
    rows = [row(number, hour) for number, hour in enumerate(hours)]
    with tempfile.TemporaryDirectory() as name:
        data = stored(Path(name), rows)
        if first >= second:
            with pytest.raises(InputError, match="does not begin after"):
                data.split(validation=first, test=second, gap=gap)
            return
        split = data.split(validation=first, test=second, gap=gap)
        assert rows_of(split.train) == between(rows, None, first - gap)
        assert rows_of(split.validation) == between(rows, first, second - gap)
        assert rows_of(split.test) == between(rows, second, None)
        assert split.train.row_count == len(between(rows, None, first - gap))
        only = data.split(test=second, gap=gap)
        assert only.validation is None
        assert rows_of(only.train) == between(rows, None, second - gap)


@settings(max_examples=40, deadline=None)
@given(hours=hours, shares=st.tuples(st.sampled_from([0.1, 0.25, 0.5]), st.sampled_from([0.1, 0.2, 0.4])))
def test_shares_are_of_the_last_rows(hours: list[float], shares: tuple[float, float]) -> None:
    """A part begins at the time of the row at which its share begins; so it has more, if rows share that time."""
    rows = [row(number, hour) for number, hour in enumerate(hours)]
    ordered = sorted(one["label_timestamp"] for one in rows)
    of_test, of_validation = (round(len(rows) * share) for share in reversed(shares))
    with tempfile.TemporaryDirectory() as name:
        data = stored(Path(name), rows)
        asked = {"validation": shares[0], "test": shares[1]}
        if not of_test or not of_validation or of_test + of_validation >= len(rows):
            with pytest.raises(InputError, match=r"rows (it gets none|none are left)"):
                data.split(**asked, gap="0s")
            return
        test = ordered[len(rows) - of_test]
        validation = ordered[len(rows) - of_test - of_validation]
        if validation == test:
            with pytest.raises(InputError, match="does not begin after"):
                data.split(**asked, gap="0s")
            return
        split = data.split(**asked, gap="0s")
        assert rows_of(split.train) == between(rows, None, validation)
        assert rows_of(split.validation) == between(rows, validation, test)
        assert rows_of(split.test) == between(rows, test, None)


def test_the_gap_is_the_longest_window_unless_given(tmp_path: Path) -> None:
    rows = [row(number, 6 * number) for number in range(20)]
    split = stored(tmp_path / "a", rows).split(test=NOON + timedelta(hours=60))
    assert split.gap == timedelta(days=1)
    assert [one["user_id"] for one in rows_of(split.train)] == [f"u{number}" for number in range(6)]
    unknown = stored(tmp_path / "b", rows, window=None)
    with pytest.raises(InputError, match="how far the features of view ranking@1 look back"):
        unknown.split(test=0.5)
    assert unknown.split(test=0.5, gap="6h").gap == timedelta(hours=6)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "no part beside"),
        ({"test": datetime(2026, 3, 2)}, "no zone"),  # noqa: DTZ001 - that is what is refused
        ({"test": 1.0}, "no share"),
        ({"validation": 0.5, "test": 0.5}, "none are left"),
        ({"validation": NOON, "test": 0.5}, "a time and the other one a share"),
        ({"test": 0.5, "gap": "soon"}, "gap: "),
        ({"test": 0.5, "gap": timedelta(-1)}, "negative"),
    ],
)
def test_splits_that_make_no_sense(tmp_path: Path, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        stored(tmp_path, [row(number) for number in range(6)]).split(**asked)
    assert raised.value.code == "split"


def plain_uniform(place: int, seed: int, stream: int) -> float:
    """SplitMix64, in Python's whole numbers."""

    def mixed(number: int) -> int:
        number = number * 0x9E3779B97F4A7C15 & MASK
        number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & MASK
        number = (number ^ number >> 27) * 0x94D049BB133111EB & MASK
        return number ^ number >> 31

    start = mixed((seed + stream * 0xD1342543DE82EF95) & MASK)
    return (mixed((place + start) & MASK) >> 11) / 2**53


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 30),
    seed=st.integers(-5, 2**70),
    share=st.sampled_from([0, 0.1, 0.5, 1])
    | st.dictionaries(st.sampled_from([True, False, None]), st.sampled_from([0, 0.5, 1.0])),
)
def test_a_sample_is_what_a_plain_loop_draws(count: int, seed: int, share: float | dict[Any, float]) -> None:
    rows = [row(number) for number in range(count)]
    kept = []
    for place, one in enumerate(rows):
        wanted = share.get(one["bought"], 0.0) if isinstance(share, dict) else share
        if plain_uniform(place, seed, 0) < wanted:
            kept.append(one)
    again = [one for one in kept if plain_uniform(rows.index(one), 7, 1) < 0.5]
    with tempfile.TemporaryDirectory() as name:
        sample = stored(Path(name), rows).sample(share, seed=seed, by="bought" if isinstance(share, dict) else "")
        assert rows_of(sample) == kept
        assert sample.row_count == len(kept)
        assert [r for batch in sample.batches(3) for r in batch.to_pylist()] == kept
        assert rows_of(sample.sample(0.5, seed=7)) == again


def test_a_sample_has_about_its_share_and_parts_of_a_split_are_sampled(tmp_path: Path) -> None:
    import numpy as np

    places = np.arange(100_000, dtype=np.uint64)
    assert 0.295 < (uniform(places, 5) < 0.3).mean() < 0.305
    assert abs(np.corrcoef(uniform(places, 5), uniform(places, 6))[0, 1]) < 0.02
    rows = [row(number) for number in range(30)]
    data = stored(tmp_path, rows)
    part = data.split(test=NOON + timedelta(hours=10), gap="0s").test
    assert part is not None
    kept = [one for place, one in enumerate(rows) if place >= 10 and plain_uniform(place, 1, 0) < 0.5]
    assert rows_of(part.sample(0.5, seed=1)) == kept


@pytest.mark.parametrize(
    ("share", "by", "message"),
    [
        (1.5, "", "not between 0 and 1"),
        ({True: -0.1}, "bought", "not between 0 and 1"),
        ({True: 0.1}, "", "need the column"),
        (0.1, "bought", "need the column"),
        ({True: 0.1}, "sold", "no such column"),
        ({"yes": 0.1}, "bought", "no value 'yes'"),
        ({1.0: 0.1}, "v", "no classes"),
    ],
)
def test_samples_that_make_no_sense(tmp_path: Path, share: Any, by: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        stored(tmp_path, [row(0)]).sample(share, by=by, seed=1)
