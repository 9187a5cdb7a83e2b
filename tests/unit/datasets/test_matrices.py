"""Batches of numbers for training: each row once, values as they are, the same order for the same seed."""

from __future__ import annotations

import math
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from feature_store.datasets.readers.matrices import Batch, MatrixBatches
from feature_store.errors import InputError, StackError
from tests.unit.datasets.dataset_cases import Row, row, stored

ROWS = [row(number) for number in range(45)]
FEATURES = ["n", "x", "is_new", "v"]


def expected(one: Row) -> tuple[float, ...]:
    vector = one["v"] or [math.nan, math.nan]
    return tuple(math.nan if value is None else float(value) for value in (one["n"], one["x"], one["is_new"], *vector))


def same(found: np.ndarray, rows: list[Row]) -> bool:
    return np.array_equal(found, np.array([expected(one) for one in rows]), equal_nan=True)


def targets(batches: list[Batch]) -> list[float]:
    return [float(value) for _, target in batches if target is not None for value in target]


def test_rows_in_order_with_their_values(tmp_path: Path) -> None:
    data = stored(tmp_path, ROWS)
    batches = list(MatrixBatches.of(data, batch_rows=10, dtype="float64").read())
    assert [len(features) for features, _ in batches] == [10, 10, 10, 10, 5]
    assert same(np.concatenate([features for features, _ in batches]), ROWS)
    assert {target is None for _, target in batches} == {True}
    chosen = list(MatrixBatches.of(data, ["v", "x"], target="bought", batch_rows=45).read())
    assert chosen[0][0].dtype == np.float32
    assert chosen[0][0].shape == (45, 3)
    assert np.array_equal(
        chosen[0][1], [math.nan if one["bought"] is None else one["bought"] for one in ROWS], equal_nan=True
    )


def test_whole_numbered_targets_stay_whole(tmp_path: Path) -> None:
    rows = [one for one in ROWS if one["n"] is not None]
    whole = MatrixBatches.of(stored(tmp_path / "a", rows), ["x"], target="n", batch_rows=7)
    found = [int(value) for _, target in whole.read() if target is not None for value in target]
    assert found == [one["n"] for one in rows]
    with pytest.raises(InputError, match="have no value"):
        list(MatrixBatches.of(stored(tmp_path / "b", ROWS), ["x"], target="n").read())


def test_a_seed_shuffles_and_gives_the_same_order_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feature_store.datasets.readers.matrices._POOL_ROWS", 10)
    rows = [{**one, "x": float(number)} for number, one in enumerate(ROWS)]
    data = stored(tmp_path, rows)

    def order(seed: int | None, epoch: int = 0) -> list[float]:
        batches = list(MatrixBatches.of(data, ["is_new"], target="x", batch_rows=6, seed=seed).read(epoch))
        assert [len(features) for features, _ in batches] == [6] * 7 + [3]
        return targets(batches)

    assert order(None) == [float(number) for number in range(45)]
    orders = [order(1), order(2), order(1, 1)]
    assert order(1) == orders[0]
    assert len({tuple(each) for each in orders}) == 3
    assert all(sorted(each) == order(None) for each in orders)


@pytest.mark.parametrize("readers", [1, 2, 3, 20])
@pytest.mark.parametrize("seed", [None, 3])
def test_readers_share_the_rows(tmp_path: Path, readers: int, seed: int | None) -> None:
    rows = [{**one, "x": float(number)} for number, one in enumerate(ROWS)]
    batches = MatrixBatches.of(stored(tmp_path, rows), ["is_new"], target="x", batch_rows=4, seed=seed)
    shares = [Counter(targets(list(batches.read(0, (number, readers))))) for number in range(readers)]
    assert sum(shares, Counter()) == Counter(float(number) for number in range(45))


def test_a_part_of_a_dataset_gives_its_rows(tmp_path: Path) -> None:
    sample = stored(tmp_path, ROWS).sample(0.4, seed=3)
    (batch,) = MatrixBatches.of(sample, dtype="float64", batch_rows=100).read()
    assert same(batch[0], sample.to_arrow().to_pylist())
    assert 5 < len(batch[0]) < 30


def test_what_no_tensor_holds_is_refused(tmp_path: Path) -> None:
    data = stored(tmp_path, ROWS)
    assert [*MatrixBatches.of(data).widths] == FEATURES
    with pytest.raises(InputError, match="it is STRING, of which there are no tensors"):
        MatrixBatches.of(data, ["n", "s"])
    with pytest.raises(InputError, match="there are no tensors"):
        MatrixBatches.of(data, target="label_timestamp")
    with pytest.raises(InputError, match="no such column"):
        MatrixBatches.of(data, ["m"])
    with pytest.raises(InputError, match="no type of a tensor"):
        MatrixBatches.of(data, dtype="int8")
    with pytest.raises(InputError, match="no positive number"):
        MatrixBatches.of(data, batch_rows=0)


def test_libraries_that_are_not_installed_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = stored(tmp_path, ROWS)
    for library, read in (("torch", data.to_torch), ("datasets", data.to_huggingface)):
        monkeypatch.setitem(sys.modules, library, None)  # whether it is there or not, it cannot be imported
        with pytest.raises(StackError, match=f"pip install {library}"):
            read()
