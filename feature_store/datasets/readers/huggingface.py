"""A dataset as one of the library `datasets`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from feature_store.datasets.readers.optional import required

if TYPE_CHECKING:
    import datasets

    from feature_store.datasets.rows import DatasetRows

_ROWS_AT_ONCE = 1 << 13


def huggingface_dataset(rows: DatasetRows, cache: Path | str | None) -> datasets.Dataset:
    """`DatasetRows.to_huggingface`."""
    library = required("datasets")
    if cache is None:
        return library.Dataset(library.table.InMemoryTable(rows.to_arrow()))
    with pa.OSFile(str(cache), "wb") as file, pa.ipc.new_stream(file, rows.schema) as stream:
        for table in rows.tables():
            stream.write_table(table, _ROWS_AT_ONCE)
    return library.Dataset.from_file(str(cache))
