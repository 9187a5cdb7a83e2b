"""Hadoop's way to the files of this machine, in the Java of the stack."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture(scope="module")
def hadoop(spark: SparkSession) -> Any:
    """The package org.apache.hadoop.fs."""
    return spark._jvm.org.apache.hadoop.fs  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def files(spark: SparkSession, hadoop: Any) -> Any:
    """What Hadoop takes for `file:`."""
    found = hadoop.Path("file:///").getFileSystem(spark._jsc.hadoopConfiguration())
    assert found.getClass().getName() == "featurestore.LocalFiles"
    return found


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_all_that_is_made(files: Any, hadoop: Any, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "rows"
    stream = files.create(hadoop.Path(str(path)))
    stream.writeBytes("one")
    stream.close()
    assert path.read_bytes() == b"one"
    assert [found.name for found in tmp_path.rglob("*")] == ["deep", "rows"], "no checksums beside it"
    assert (mode(path), mode(path.parent)) == (0o644, 0o755)


def test_what_somebody_else_wrote_over_is_read_as_it_is_now(files: Any, hadoop: Any, tmp_path: Path) -> None:
    path = tmp_path / "rows"
    for content in ("one", "two"):
        stream = files.create(hadoop.Path(str(path)), True)
        stream.writeBytes(content)
        stream.close()
    path.write_bytes(b"six")
    stream = files.open(hadoop.Path(str(path)))
    assert bytes(stream.read() for _ in range(3)) == b"six"
    stream.close()


@pytest.mark.parametrize("wanted", [0o600, 0o755, 0o440])
def test_permissions_are_set(files: Any, hadoop: Any, tmp_path: Path, wanted: int) -> None:
    path = tmp_path / "rows"
    path.touch()
    files.setPermission(hadoop.Path(str(path)), hadoop.permission.FsPermission(f"{wanted:o}"))
    assert mode(path) == wanted


def test_renaming_and_deleting_leave_nothing(files: Any, hadoop: Any, tmp_path: Path) -> None:
    files.create(hadoop.Path(str(tmp_path / "half"))).close()
    assert files.rename(hadoop.Path(str(tmp_path / "half")), hadoop.Path(str(tmp_path / "whole")))
    assert [found.name for found in tmp_path.iterdir()] == ["whole"]
    assert files.delete(hadoop.Path(str(tmp_path / "whole")), False)
    assert list(tmp_path.iterdir()) == []
