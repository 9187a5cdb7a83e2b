"""What a way is run on, and where its result goes."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from benchmarks.training.made import catalog_in, files_of, labels_file, size_in, view_of
from feature_store.plan.schema import GroupSchema

RESULT = "result"
"""The folder of a result: Parquet files anywhere in it, with the labels' columns and the features."""


class Setting:
    """The data in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.size = size_in(folder)
        self.view = view_of(self.size)
        self.groups = [viewed.group for viewed in self.view.groups]
        self.key = self.size.key.name
        self.catalog = catalog_in(folder)
        self.files = {group.name: files_of(self.catalog, group) for group in self.groups}
        self.labels = labels_file(folder)

    def result(self) -> Path:
        """A file for the result."""
        path = self.folder / RESULT
        path.mkdir(exist_ok=True)
        return path / "result.parquet"


def columns_of(group: GroupSchema) -> list[str]:
    """Key, time and features of a group."""
    return [group.keys[0].name, "feature_timestamp", *(feature.name for feature in group.features)]


def rows_in(path: Path) -> int:
    """The rows of a Parquet file, or of those in a folder."""
    files = path.glob("**/*.parquet") if path.is_dir() else [path]
    return sum(int(pq.read_metadata(file).num_rows) for file in files)


def connected(folder: Path, memory: int) -> duckdb.DuckDBPyConnection:
    """DuckDB on all cores, with so many bytes of memory; what it spills goes into the folder."""
    settings = {
        "threads": os.cpu_count() or 1,
        "preserve_insertion_order": False,
        "memory_limit": f"{memory >> 20}MiB",
        "temp_directory": str(folder / "duckdb"),
        "max_temp_directory_size": "40GiB",
    }
    return duckdb.connect(config=settings)
