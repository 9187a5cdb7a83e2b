"""A dataset's folder appears when all of it is written, or never."""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_store.pit.dataset import _appearing


def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "churn" / "1"
    with _appearing(path) as unfinished:
        (unfinished / "part").write_text("rows")
        assert not path.exists()
    assert (path / "part").read_text() == "rows"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def write_half() -> None:
        with _appearing(tmp_path / "churn" / "1") as unfinished:
            (unfinished / "part").write_text("half")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"):
        write_half()
    assert list((tmp_path / "churn").iterdir()) == []
