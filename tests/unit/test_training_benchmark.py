"""The benchmark of training datasets: its ways give one result, and its conclusions follow from what was measured."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree

import polars as pl
import pytest

from benchmarks.training.comparison import differing, sample
from benchmarks.training.cost_model import CostModel, Point, slope
from benchmarks.training.made import Size, make
from benchmarks.training.plot import plot
from benchmarks.training.report import table
from benchmarks.training.setting import RESULT
from benchmarks.training.ways import WAYS, Limits, Run, Way, run

SIZE = Size(labels=2_000, groups=2, rows=1_500, features=2, entities=40, keys="string", ttl_days=7, hot=0.05)
GIGABYTE = 1 << 30


def prepared(way: Way, folder: Path) -> Callable[[], int]:
    module, _, function = way.prepare.partition(":")
    ready: Callable[[], int] = getattr(import_module(module), function)(folder, GIGABYTE)
    return ready


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("training")
    make(made, SIZE)
    return made


def test_every_way_gives_our_rows(folder: Path) -> None:
    """Those that need neither Spark nor Feast."""
    expected = None
    ways = [way for way in WAYS if way.kind in ("ours", "join") and "Spark" not in way.name]
    assert len(ways) == 4
    for way in ways:
        shutil.rmtree(folder / RESULT, ignore_errors=True)
        assert prepared(way, folder)() == SIZE.labels
        expected = sample(folder, SIZE.labels) if expected is None else expected
        assert differing(expected, sample(folder, SIZE.labels, expected)) == 0
    assert expected is not None
    missing = expected["g0_feature_0"].null_count()
    assert 0 < missing < SIZE.labels


def test_a_way_in_a_process_of_its_own(folder: Path) -> None:
    way = next(way for way in WAYS if way.name == "read and sort, Polars")
    done = run(way, folder, Limits(GIGABYTE, 8 * GIGABYTE, 300), None)
    assert isinstance(done, Run)
    assert done.rows == 2 * (1_500 + 15 * (100 // 200))
    assert done.read > 10_000
    assert min(done.seconds, done.cpu) >= 0
    assert run(way, folder, Limits(GIGABYTE, 8 * GIGABYTE, 0.01), None) == "not done in 0 s"
    wrong = replace(way, prepare="benchmarks.training.nothing:at_all")
    assert str(run(wrong, folder, Limits(GIGABYTE, 8 * GIGABYTE, 300), None)).startswith("failed: ModuleNotFoundError")


def test_rows_that_differ_are_counted() -> None:
    rows = pl.DataFrame({"number": [0, 1, 2, 3], "hash": [10, 11, 12, 13]})
    changed = pl.DataFrame({"number": [0, 1, 1, 3], "hash": [10, 99, 99, 13]})
    assert differing(rows, rows) == 0
    assert differing(rows, changed) == 3  # 1 is another row, and there twice; 2 is not there


def test_the_model_finds_what_runs_cost() -> None:
    sizes = [replace(SIZE, labels=n, groups=g, rows=r) for n in (10**5, 10**6) for g in (1, 3) for r in (10**5, 10**7)]
    points = [Point(size, *_costs(size)) for size in sizes]
    model = CostModel.fitted(points, cores=2)
    large = replace(SIZE, labels=10**8, groups=5, rows=10**7)
    assert model.cpu(large) == pytest.approx(_costs(large)[1], rel=1e-6)
    assert model.efficiency == pytest.approx(0.8)
    assert model.seconds(large, 1, 2) == pytest.approx(0.5 + (_costs(large)[1] - 0.5) / 1.6)
    assert model.seconds(large, 100, 2) < model.seconds(large, 10, 2) < model.seconds(large, 1, 2)
    assert model.seconds(large, 100, 2, hot_is_split=False) > 0.05 * model.cpu(large)
    assert slope(points) < 1.05
    assert slope([Point(size, 1, float(size.work)) for size in sizes]) == pytest.approx(1)


def _costs(size: Size) -> tuple[float, float]:
    """Seconds and processor seconds on two cores that are used to 80 %."""
    cpu = 0.5 + 1e-7 * size.labels + 4e-7 * size.labels * size.groups + 2e-7 * size.rows * size.groups
    return cpu / 1.6, cpu


def test_table_and_plot() -> None:
    ours, sort, other = WAYS[0], WAYS[1], WAYS[3]
    measured = {ours: [Run(2, 3, 10**8, 10**7, 2_000)], sort: [Run(1, 2, 1, 1, 3_000)], other: "not done in 60 s"}
    _, heads, *lines = table(SIZE, measured, {ours: ""})
    assert "rows out" in heads
    assert lines[0].split()[-9:] == ["2.00", "2.00", "3.00", "1.50", "1,000", "100", "10", "5,000", "2,000"]
    assert lines[2] == f"{other.name:22} not done in 60 s"
    points = [Point(replace(SIZE, labels=labels), labels / 1e6, labels / 1e6) for labels in (10**4, 10**5, 10**6)]
    assert "slope" in "".join(ElementTree.fromstring(plot(points, "a <dataset>")).itertext())
