"""Training datasets in a bucket: there whole or not at all, whoever is killed meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import numpy as np
import pytest
from pyiceberg.catalog import Catalog

from feature_store.datasets.dataset import load_dataset
from feature_store.datasets.readers.matrices import MatrixBatches
from feature_store.errors import InputError, NotFoundError, StackError
from feature_store.offline.catalog import open_catalog
from feature_store.offline.tables import ensure_table
from feature_store.pit.dataset import TrainingDataset, build_training_dataset, datasets_folder
from feature_store.pit.tags import LONGEST_BUILD, sweep_tags, sweep_unfinished
from feature_store.pit.writing import WrittenRows, write_rows
from feature_store.plan.schema import GroupSchema
from feature_store.settings import Settings
from tests.integration.cluster.own_bucket import BUCKET, Bucket
from tests.unit.pit.pit_cases import group, label, reference, row, rows_table, view

_versions = count(8000)
LABELS = [label(micros, user) for micros in range(-1, 4) for user in ("u", "v", None)]
ROWS = [row(0, 4), row(2, 5), row(1, 6, user="v")]
KILLED = """
import sys, time
from feature_store.pit import dataset, writing
from feature_store.settings import Settings
from tests.unit.pit.pit_cases import group, label, view
from dataclasses import replace

write_rows = dataset.write_rows

def write_and_wait(folder, pieces, workers, features):
    write_rows(folder, pieces, workers, features)
    print(folder.name, flush=True)
    time.sleep(600)

dataset.write_rows = write_and_wait
schema = replace(group(), version=int(sys.argv[1]))
dataset.build_training_dataset(Settings.load(), view(schema), [label(5)], name="killed")
"""


@pytest.fixture
def there(in_bucket: Settings) -> Iterator[Catalog]:
    with open_catalog(in_bucket) as catalog:
        yield catalog


@pytest.fixture
def schema(there: Catalog) -> GroupSchema:
    """A group with a table in the bucket that no other test has."""
    schema = replace(group(), version=next(_versions))
    ensure_table(there, schema).append(rows_table(schema, ROWS))
    return schema


def objects(bucket: Bucket, dataset_id: str) -> list[str]:
    return sorted(name.rpartition("/")[2] for name in bucket.names() if f"/{dataset_id}/" in name)


def tags(catalog: Catalog, schema: GroupSchema) -> set[str]:
    return set(catalog.load_table(schema.table).refs()) - {"main"}


def sweep(settings: Settings, catalog: Catalog, schema: GroupSchema, at: datetime) -> tuple[list[str], list[str]]:
    folder = datasets_folder(settings)
    return sweep_unfinished(folder, at), sweep_tags(catalog.load_table(schema.table), folder, set(), at)


def test_a_dataset_in_a_bucket_is_read_and_made_again(
    in_bucket: Settings, bucket: Bucket, there: Catalog, schema: GroupSchema
) -> None:
    def build(**arguments: Any) -> TrainingDataset:
        return build_training_dataset(in_bucket, view(schema), arguments.pop("labels", None), name="s3", **arguments)

    made = build(labels=LABELS)
    assert made.url == f"s3://{BUCKET}/warehouse/training/s3/{made.id}"
    assert objects(bucket, made.id) == ["manifest.json", "part-00000.parquet"]
    assert not list(in_bucket.home.glob(f"**/*{made.id}*"))
    ensure_table(there, schema).append(rows_table(schema, [row(3, 9), row(3, 9, user="v")]))
    again = build(like=load_dataset(made.manifest_url, in_bucket.object_storage))
    for data in (made, again):
        assert data.to_arrow().to_pylist() == reference(LABELS, [(schema, ROWS)])
    (batch,) = MatrixBatches.of(made.sample(1, seed=1), seed=3, dtype="float64").read()
    known = [one["orders_value"] for one in made.table.to_pylist() if one["orders_value"] is not None]
    assert sorted(batch[0][~np.isnan(batch[0])]) == sorted(known)
    with pytest.raises(InputError, match="use its url"):
        assert made.path
    assert sweep(in_bucket, there, schema, datetime.now(UTC) + 2 * LONGEST_BUILD) == ([], [])
    assert tags(there, schema) == {made.tag, again.tag}


def test_what_a_killed_build_leaves_in_a_bucket_is_no_dataset_and_is_swept(
    in_bucket: Settings, bucket: Bucket, there: Catalog, schema: GroupSchema
) -> None:
    whole = build_training_dataset(in_bucket, view(schema), [label(5)], name="killed")
    environment = {**os.environ, **bucket.environment, "FS_HOME": str(in_bucket.home)}
    building = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(schema.version)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert building.stdout is not None
    left = building.stdout.readline().strip()
    building.kill()
    building.wait()
    assert objects(bucket, left) == ["part-00000.parquet"]
    (left_tag,) = tags(there, schema) - {whole.tag}
    folder = datasets_folder(in_bucket).inside("killed", left)
    with pytest.raises(NotFoundError, match="no dataset"):
        load_dataset(folder.url, in_bucket.object_storage)
    assert sweep(in_bucket, there, schema, datetime.now(UTC)) == ([], [])  # it may still be running
    later = datetime.now(UTC) + LONGEST_BUILD + timedelta(minutes=1)
    assert sweep(in_bucket, there, schema, later) == ([folder.url], [left_tag])
    assert objects(bucket, left) == []
    assert load_dataset(whole.url, in_bucket.object_storage).to_arrow().equals(whole.table)


def test_a_bucket_that_goes_away_meanwhile_keeps_nothing(
    in_bucket: Settings, bucket: Bucket, there: Catalog, schema: GroupSchema, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*given: Any) -> WrittenRows:
        bucket.server.kill()
        return write_rows(*given)

    with monkeypatch.context() as patched:
        patched.setattr("feature_store.pit.dataset.write_rows", cut)
        with pytest.raises(StackError, match="the bucket cannot be used") as raised:
            build_training_dataset(in_bucket, view(schema), [label(5)], name="away")
    bucket.server.start()
    assert raised.value.code == "dataset-storage"
    folder = datasets_folder(in_bucket).inside("away")
    assert folder.folders() == []
    again = build_training_dataset(in_bucket, view(schema), [label(5)], name="away")
    assert [each.name for each in folder.folders()] == [again.id]
    (left,) = tags(there, schema) - {again.tag}  # it could not be dropped
    assert sweep(in_bucket, there, schema, datetime.now(UTC) + 2 * LONGEST_BUILD) == ([], [left])
