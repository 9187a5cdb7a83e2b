"""A dataset's folder appears when all of it is written, or never; what it read is tagged."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from feature_store.datasets.storage import Folder, appearing
from feature_store.offline.tables import ensure_table
from feature_store.pit.dataset import build_in
from tests.unit.pit.pit_cases import group, label, row, rows_table, view


def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "churn" / "1"
    with appearing(Folder.of(path)) as unfinished:
        unfinished.write("part", b"rows")
        assert not path.exists()
    assert (path / "part").read_text() == "rows"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def write_half() -> None:
        with appearing(Folder.of(tmp_path / "churn" / "1")) as unfinished:
            unfinished.write("part", b"half")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"):
        write_half()
    assert list((tmp_path / "churn").iterdir()) == []


@pytest.fixture
def catalog(tmp_path: Path) -> SqlCatalog:
    """A catalog in a file, with one table of two snapshots."""
    catalog = SqlCatalog("fs", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse")
    table = ensure_table(catalog, group())
    for n in range(2):
        table.append(rows_table(group(), [row(n, n)]))
    return catalog


def tags(catalog: SqlCatalog) -> dict[str, int]:
    refs = catalog.load_table(group().table).metadata.refs
    return {name: ref.snapshot_id for name, ref in refs.items() if name != "main"}


def test_the_snapshots_that_a_dataset_read_are_tagged(catalog: SqlCatalog, tmp_path: Path) -> None:
    first, last = (snapshot.snapshot_id for snapshot in catalog.load_table(group().table).snapshots())
    now = build_in(catalog, tmp_path, view(group()), [label(5)], name="churn")
    then = build_in(catalog, tmp_path, view(group()), [label(5)], name="churn", snapshots={"orders@1": first})
    assert tags(catalog) == {now.tag: last, then.tag: first}
    assert now.tag == f"training-churn-{now.id}"


def test_a_dataset_that_fails_leaves_no_tag(catalog: SqlCatalog, tmp_path: Path) -> None:
    (tmp_path / "churn").write_text("in the way of the folder")
    with pytest.raises(OSError, match="churn"):
        build_in(catalog, tmp_path, view(group()), [label(5)], name="churn")
    assert tags(catalog) == {}
