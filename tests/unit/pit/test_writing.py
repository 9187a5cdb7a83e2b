"""A dataset has as many rows as there are labels, or it is not."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from feature_store.datasets.storage import Folder
from feature_store.errors import StackError
from feature_store.offline.tables import ensure_table
from feature_store.pit import dataset
from feature_store.pit.pieces import Piece, Pieces
from feature_store.pit.writing import write_rows
from tests.unit.pit.pit_cases import group, label, row, rows_table, view


def test_files_of_equal_length_and_what_is_missing_in_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feature_store.pit.writing._ROWS_PER_FILE", 8)
    table = pa.table({"n": list(range(21))})
    pieces = Pieces(21, 4, lambda n: Piece(table.slice(4 * n, 4), {"n": n}), {"n": 100})
    written = write_rows(Folder.of(tmp_path), pieces, 3, ["n"])
    assert written.missing == {"n": 115}
    sent = pickle.loads(pickle.dumps(written))
    assert sent.features.statistics() == written.features.statistics(), "other processes write files, too"
    files = sorted(tmp_path.iterdir())
    assert [(file.name, file.rows, file.size) for file in written.files] == [
        (path.name, rows, path.stat().st_size) for path, rows in zip(files, [8, 8, 5], strict=True)
    ]
    numbers = written.features.statistics()["n"]
    assert (numbers.minimum, numbers.maximum, numbers.mean, numbers.distinct) == (0, 20, 10.0, 21)
    assert [pq.read_metadata(path).num_rows for path in files] == [8, 8, 5]
    assert pa.concat_tables(map(pq.read_table, files)).equals(table)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_dataset_of_other_rows_than_labels_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: int
) -> None:
    catalog = SqlCatalog("fs", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse")
    table = ensure_table(catalog, group())
    table.append(rows_table(group(), [row(0)]))
    join_pieces = dataset.join_pieces

    def wrong(*given: Any) -> Pieces:
        """A join that loses a row, or gives one twice."""
        pieces = join_pieces(*given)
        rows = pieces.read(0).table
        rows = rows.slice(1) if change < 0 else pa.concat_tables([rows, rows.slice(0, 1)])
        return replace(pieces, read=lambda _: Piece(rows, {}))

    monkeypatch.setattr(dataset, "join_pieces", wrong)
    with pytest.raises(StackError, match=f"{3 + change} rows were written for 3 labels"):
        dataset.build_in(catalog, tmp_path / "training", view(group()), [label(n) for n in range(3)], name="x")
    assert list((tmp_path / "training" / "x").iterdir()) == []
    assert set(table.refresh().metadata.refs) == {"main"}
