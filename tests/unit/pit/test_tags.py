"""What a killed build of a training dataset leaves is swept; what datasets have read stays tagged."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from feature_store.datasets.storage import Folder
from feature_store.offline.refs import tag_snapshot
from feature_store.offline.tables import ensure_table
from feature_store.pit.dataset import build_in
from feature_store.pit.tags import LONGEST_BUILD, sweep_tags, sweep_unfinished
from tests.unit.pit.pit_cases import group, label, row, rows_table, view

BUILD = """
import sys, time
from pathlib import Path
from pyiceberg.catalog.sql import SqlCatalog
from feature_store.pit import dataset
from tests.unit.pit.pit_cases import group, label, view

def write_rows(folder, pieces, workers, features):
    folder.write("part-00000.parquet", b"half")
    print("writing", flush=True)
    time.sleep(600)

dataset.write_rows = write_rows
folder = Path(sys.argv[1])
catalog = SqlCatalog("fs", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse")
dataset.build_in(catalog, folder / "training", view(group()), [label(5)], name="churn-2")
"""


@pytest.fixture
def catalog(tmp_path: Path) -> SqlCatalog:
    catalog = SqlCatalog("fs", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse")
    ensure_table(catalog, group()).append(rows_table(group(), [row(0)]))
    return catalog


def tags(catalog: SqlCatalog) -> set[str]:
    return set(catalog.load_table(group().table).metadata.refs) - {"main"}


def test_the_tag_and_the_folder_of_a_killed_build_are_swept(catalog: SqlCatalog, tmp_path: Path) -> None:
    training = Folder.of(tmp_path / "training")
    stored = build_in(catalog, tmp_path / "training", view(group()), [label(5)], name="churn-2")
    building = subprocess.Popen([sys.executable, "-c", BUILD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert building.stdout is not None
    assert building.stdout.readline() == "writing\n"
    building.kill()
    building.wait()
    (left,) = tags(catalog) - {stored.tag}
    table, now = catalog.load_table(group().table), datetime.now(UTC)

    def sweep(at: datetime) -> tuple[list[str], int]:
        return sweep_tags(table, training, set(), at), len(sweep_unfinished(training, at))

    assert sweep(now) == ([], 0)  # it may still be running
    assert sweep(now + LONGEST_BUILD + timedelta(minutes=1)) == ([left], 1)
    assert tags(catalog) == {stored.tag}
    assert [folder.name for folder in training.inside("churn-2").folders()] == [stored.id]


def test_tags_of_recorded_datasets_and_of_others_stay(catalog: SqlCatalog, tmp_path: Path) -> None:
    """A dataset that the registry knows may be stored on another machine; other tags are none of ours."""
    table = catalog.load_table(group().table)
    snapshot = table.metadata.current_snapshot_id
    assert snapshot is not None
    names = [f"training-{name}" for name in ("a-20260101T000000Z-0123abcd", "b-20260101T000000Z-4567abcd", "mine")]
    for name in [*names, "release"]:
        tag_snapshot(table, snapshot, name)
    swept = sweep_tags(table, Folder.of(tmp_path), {"20260101T000000Z-4567abcd"}, datetime.now(UTC))
    assert swept == names[:1]
    assert tags(catalog) == {*names[1:], "release"}
