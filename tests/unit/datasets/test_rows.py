"""A dataset as the tables and batches of any library, whole or in part: the same rows, exactly."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from feature_store.datasets.dataset import load_dataset
from feature_store.datasets.manifest import MANIFEST, read_manifest
from feature_store.datasets.storage import Folder, latest_dataset
from feature_store.errors import InputError, NotFoundError, StackError
from feature_store.object_storage import ObjectStorage
from tests.unit.datasets.dataset_cases import FEATURES, row, stored

ROWS = [row(number) for number in range(21)]


def test_every_library_gets_the_same_rows(tmp_path: Path) -> None:
    data = stored(tmp_path / "a", ROWS)
    assert data.to_arrow().to_pylist() == ROWS
    assert data.to_polars().to_dicts() == ROWS
    frame = data.to_pandas()
    assert frame["n"].dtype == pd.Int64Dtype()
    assert [None if pd.isna(n) else int(n) for n in frame["n"]] == [one["n"] for one in ROWS], "no INT became a float"
    assert [None if pd.isna(b) else bool(b) for b in frame["bought"]] == [one["bought"] for one in ROWS]
    assert data.to_pandas(["user_id"]).columns.tolist() == ["user_id"]
    assert pl.read_parquet(data.path / "*.parquet").equals(data.to_polars())
    assert len(data.manifest.files) == 3
    assert data.row_count == 21


@pytest.mark.parametrize("size", [1, 3, 4, 8, 20, 21, 100])
def test_batches_have_the_length_that_was_asked_for(tmp_path: Path, size: int) -> None:
    batches = list(stored(tmp_path / "a", ROWS).batches(size, ["user_id", "n"]))
    assert [batch.num_rows for batch in batches[:-1]] == [size] * (len(batches) - 1)
    assert pa.Table.from_batches(batches).to_pylist() == [{name: r[name] for name in ("user_id", "n")} for r in ROWS]


def test_classes_are_counted_and_weighed(tmp_path: Path) -> None:
    data = stored(tmp_path / "a", ROWS)
    bought = [one["bought"] for one in ROWS]
    assert data.class_counts("bought") == {value: bought.count(value) for value in (True, False, None)}
    known = len(bought) - bought.count(None)
    assert data.class_weights("bought") == {v: known / 2 / bought.count(v) for v in (True, False)}


def test_what_there_is_not_is_named(tmp_path: Path) -> None:
    data = stored(tmp_path / "a", ROWS)
    with pytest.raises(InputError, match="did you mean 'user_id'"):
        data.batches(5, ["user"])
    with pytest.raises(InputError, match="0 is no positive number"):
        data.batches(0)
    with pytest.raises(InputError, match="are no classes"):
        data.class_counts("v")
    with pytest.raises(InputError, match="no definition"):
        data.recorded_view()


def test_a_dataset_is_opened_by_its_folder_or_manifest(tmp_path: Path) -> None:
    data = stored(tmp_path / "ü b" / "a", ROWS)
    for place in (data.path, str(data.path), data.url, data.manifest_url, data.path / MANIFEST, f"{data.path}/"):
        assert load_dataset(place).manifest == data.manifest
    assert read_manifest(data.manifest.to_json(), "").files == data.manifest.files
    assert [column.dtype for column in data.manifest.columns[3:]] == [*FEATURES.values()]


def test_a_place_without_a_dataset_is_refused(tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    for place in (tmp_path / "half", tmp_path / "nowhere"):
        with pytest.raises(NotFoundError, match=r"no manifest\.json") as raised:
            load_dataset(place)
        assert raised.value.code == "no-dataset"
    for content, message in ((b"{", "no manifest"), (b'{"format": 1}', "no manifest"), (b"", "no manifest")):
        (tmp_path / "half" / MANIFEST).write_bytes(content)
        with pytest.raises(InputError, match=message):
            load_dataset(tmp_path / "half")
    later = stored(tmp_path / "a", ROWS).manifest.to_json().replace(b'"format": 1', b'"format": 2')
    with pytest.raises(InputError, match="the format 2"):
        read_manifest(later, "")
    with pytest.raises(InputError, match="no access"):
        load_dataset("gs://bucket/a")


def test_a_bucket_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StackError) as raised:
        load_dataset("s3a://bucket/training/churn/1", ObjectStorage("http://127.0.0.1:1", "us-east-1", True))
    assert (raised.value.code, raised.value.where) == ("dataset-storage", "s3://bucket/training/churn/1")


def test_the_latest_dataset_of_a_name_is_whole(tmp_path: Path) -> None:
    assert latest_dataset(Folder.of(tmp_path / "churn")) is None
    for name in ("1", "2"):
        stored(tmp_path / "churn" / name, ROWS[:1])
    for unfinished in (".3", "4"):
        (tmp_path / "churn" / unfinished).mkdir()
    found = latest_dataset(Folder.of(tmp_path / "churn"))
    assert found is not None
    assert found.name == "2"
