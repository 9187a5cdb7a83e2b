"""A stored dataset of a few rows in several small files, and its rows as dicts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from feature_store.datasets.dataset import StoredDataset, load_dataset
from feature_store.datasets.manifest import MANIFEST, DatasetColumn, Manifest
from feature_store.datasets.storage import Folder
from feature_store.pit import writing
from feature_store.pit.pieces import Piece, Pieces

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY_MICROS = 86_400_000_000
FEATURES = {"n": "INT", "x": "FLOAT", "is_new": "BOOL", "v": "EMBEDDING(2)", "s": "STRING"}
_TYPES = {
    "n": pa.int64(),
    "x": pa.float64(),
    "is_new": pa.bool_(),
    "v": pa.list_(pa.float32()),
    "s": pa.string(),
}

Row = dict[str, Any]


def row(number: int, hours: float | None = None) -> Row:
    """Row `number`, so many hours after noon; each third INT is missing, and is beyond what a double can say."""
    return {
        "user_id": f"u{number}",
        "label_timestamp": NOON + timedelta(hours=number if hours is None else hours),
        "bought": None if number % 7 == 3 else number % 3 == 0,
        "n": None if number % 3 == 1 else 2**53 + 1 + number,
        "x": None if number % 5 == 2 else number / 4,
        "is_new": number % 2 == 0,
        "v": None if number % 4 == 3 else [float(number), -float(number)],
        "s": f"s{number % 4}",
    }


def stored(
    place: Path, rows: Sequence[Row], *, block: int = 4, window: int | None = DAY_MICROS, blocks_per_file: int = 2
) -> StoredDataset:
    """The dataset of some rows, in files of `blocks_per_file` blocks of `block` rows."""
    labels = {"user_id": pa.string(), "label_timestamp": pa.timestamp("us", "UTC"), "bought": pa.bool_()}
    table = pa.Table.from_pylist([*rows], pa.schema([*labels.items(), *_TYPES.items()]))
    folder = Folder.of(place)
    place.mkdir(parents=True, exist_ok=True)
    pieces = [table.slice(start, block) for start in range(0, len(rows), block)]
    files = [
        writing.write_file(
            folder,
            first // blocks_per_file,
            (Piece(piece, {}) for piece in pieces[first : first + blocks_per_file]),
            [*FEATURES],
        )
        for first in range(0, len(pieces), blocks_per_file)
    ]
    written = writing.written_rows(files, folder, Pieces(len(rows), block, lambda _: Piece(table, {}), {}))
    columns = [DatasetColumn(name, str(dtype), "label") for name, dtype in labels.items()]
    manifest = Manifest(
        name="churn", id=place.name, view="ranking@1", definitions=(),
        columns=(*columns, *(DatasetColumn(name, dtype, "feature") for name, dtype in FEATURES.items())),
        snapshots={"orders@1": 5}, tag="training-churn", labels_hash="sha256:0", known_by=None, engine="native",
        rows=len(rows), files=written.files, null_rates={}, statistics=written.features.statistics(), masked=(),
        warnings=(), longest_window=window, requested_by="somebody", code_version="sha256:1", spilled=False,
        seconds=0.5, created=NOON,
    )  # fmt: skip
    folder.write(MANIFEST, manifest.to_json())
    return load_dataset(place)
