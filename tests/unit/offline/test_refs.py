"""Commits beside those of others, on a table in a one-file catalog."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException

from feature_store.offline.refs import commit_once
from feature_store.offline.tables import evolve_table

ROWS = pa.table({"n": [1, 2]})


def test_a_commit_that_adds_files_is_not_repeated_on_what_others_have_noted(tmp_path: Path) -> None:
    catalog = SqlCatalog("fs", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse")
    catalog.create_namespace("features")
    table = catalog.create_table("features.group", ROWS.schema)

    def commit_behind_another() -> None:
        with commit_once(table) as transaction:
            transaction.append(ROWS)
            transaction.set_properties({"spans": "mine"})
            with catalog.load_table("features.group").transaction() as other:
                other.append(ROWS)
                other.set_properties({"spans": "theirs"})

    with pytest.raises(CommitFailedException):
        commit_behind_another()
    table = catalog.load_table("features.group")
    assert table.properties["spans"] == "theirs"
    assert table.scan().to_arrow().num_rows == 2


def test_a_commit_without_others_is_made(tmp_path: Path) -> None:
    catalog = SqlCatalog("fs", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse")
    catalog.create_namespace("features")
    table = catalog.create_table("features.group", ROWS.schema)
    with commit_once(table) as transaction:
        transaction.append(ROWS)
        transaction.set_properties({"spans": "mine"})
    table = catalog.load_table("features.group")
    assert table.properties["spans"] == "mine"
    assert table.scan().to_arrow().num_rows == 2


def test_two_processes_give_a_table_the_columns_that_it_lacks(tmp_path: Path) -> None:
    catalog = SqlCatalog("fs", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse")
    catalog.create_namespace("features")
    table = catalog.create_table("features.group", ROWS.schema)
    stale = catalog.load_table("features.group")
    wider = pa.schema([*ROWS.schema, ("more", pa.string())])
    for each, wanted in ((table, wider), (stale, wider), (table, pa.schema([*wider, ("most", pa.string())]))):
        evolve_table(each, wanted, where="group group@1", remedy="none", code="type-change")
    assert catalog.load_table("features.group").schema().column_names == ["n", "more", "most"]
