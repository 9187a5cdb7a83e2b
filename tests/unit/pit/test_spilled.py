"""Labels that do not fit in memory are joined through scratch files, and nothing about the result tells."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from feature_store import INT, OnDemand
from feature_store.offline.tables import ensure_table
from feature_store.pit import budget
from feature_store.pit.dataset import TrainingDataset, build_in
from feature_store.pit.semantics import KnownBy
from feature_store.plan.build import view_schema
from feature_store.plan.schema import GroupSchema
from tests.unit.pit.pit_cases import cases, reference, rows_table
from tests.unit.pit.pit_cases import view as plain_view
from tests.unit.pit.test_roles import EARLIER, catalog_of, fact, times
from tests.unit.view_cases import ITEMS, SELLERS, USERS, Row, key_rows, oracle, tables, view, views

IN_MEMORY = 1 << 30


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without memory a join has two rows of each kind at once."""
    monkeypatch.setattr(budget, "_LEAST_ROWS", 2)


def same(dataset: TrainingDataset, other: TrainingDataset) -> bool:
    """Whether nothing but id, path and time differs."""
    parts = ("row_count", "snapshots", "labels_hash", "null_rates", "known_by")
    of = [{part: getattr(one, part) for part in parts} for one in (dataset, other)]
    return dataset.table.equals(other.table) and of[0] == of[1]


@settings(max_examples=10, deadline=None)
@given(case=cases(), known_by=st.sampled_from([None, "label"]), cut=st.integers(0, 25))
def test_a_spilled_join_is_what_the_reference_says(
    case: tuple[list[Row], list[tuple[GroupSchema, list[Row]]]], known_by: KnownBy, cut: int
) -> None:
    """Two entities and their pair, buckets, rows in two commits, ties, NULLs, corrections, rows taken back."""
    labels, groups = case
    reads = plain_view(*(schema for schema, _ in groups))
    with tempfile.TemporaryDirectory() as name:
        catalog = catalog_of(Path(name), {})
        for schema, rows in groups:
            table = ensure_table(catalog, schema)
            for part in (rows[:cut], rows[cut:]):
                table.append(rows_table(schema, part))
        spilled, whole = (
            build_in(catalog, Path(name) / "training", reads, labels, name="x", known_by=known_by, memory=memory)
            for memory in (0, IN_MEMORY)
        )
        assert same(spilled, whole)
        assert spilled.table.to_pylist() == reference(labels, groups, known_by)


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_roles_and_keys_that_are_features(data: st.DataObject) -> None:
    found, reads = data.draw(tables()), data.draw(views())
    labels = [{**keys, "label_timestamp": data.draw(times)} for keys in data.draw(key_rows(reads))]
    assume(labels)
    with tempfile.TemporaryDirectory() as name:
        catalog = catalog_of(Path(name), found)
        dataset = build_in(catalog, Path(name) / "training", view_schema(reads), labels, name="roles", memory=0)
        expected = [label | oracle(reads, found, label, label["label_timestamp"]) for label in labels]
        assert dataset.table.to_pylist() == expected


def test_on_demand_features_and_request_values(tmp_path: Path) -> None:
    rows = {USERS.id: [fact("user", name, 5, count=count) for name, count in (("a", 10), ("b", 4))]}
    reads = view(
        ITEMS.select("item_seller"),
        USERS.select("user_count"),
        SELLERS.select("seller_count").keyed_by("item_seller"),
        on_demand=[OnDemand("twice", "2 * user_count", dtype=INT), OnDemand("more", "twice + seller_count", dtype=INT)],
    )
    rows |= {ITEMS.id: [fact("item", 1, 9, seller="s")], SELLERS.id: [fact("seller", "s", 9, count=100)]}
    users = ["a", "b", None, "c", "a", "a", "b"]
    labels: list[Row] = [{"item_id": n % 2, "user_id": u, "label_timestamp": EARLIER} for n, u in enumerate(users)]
    catalog = catalog_of(tmp_path, rows)
    spilled, whole = (
        build_in(catalog, tmp_path / "training", view_schema(reads), labels, name="x", memory=memory)
        for memory in (0, IN_MEMORY)
    )
    assert same(spilled, whole)
    assert spilled.table["more"].to_pylist()[:2] == [20, 108]


def test_most_labels_are_of_one_entity(tmp_path: Path) -> None:
    """Its bucket has more labels than may be joined at once, and no hash can split it."""
    hours = range(1, 200)
    rows = {USERS.id: [fact("user", "a", hour, count=hour) for hour in hours]}
    reads = view_schema(view(USERS.select("user_count")))
    labels: list[Row] = [
        {"user_id": "a", "label_timestamp": EARLIER - timedelta(hours=(hour * 37) % 199 + 1)} for hour in hours
    ]
    dataset = build_in(catalog_of(tmp_path, rows), tmp_path / "training", reads, labels, name="x", memory=0)
    assert dataset.table["user_count"].to_pylist() == [(hour * 37) % 199 + 1 for hour in hours]


@pytest.mark.parametrize("memory", [0, IN_MEMORY])
def test_nothing_is_left_in_the_scratch_folder(tmp_path: Path, memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = view_schema(view(USERS.select("user_count")))
    catalog = catalog_of(tmp_path, {USERS.id: [fact("user", "a", 5, count=1)]})
    labels: list[Row] = [{"user_id": "a", "label_timestamp": EARLIER}] * 9

    def build(**more: Any) -> TrainingDataset:
        return build_in(catalog, tmp_path / "training", reads, labels, name="x", memory=memory, **more)

    build()
    assert left_in(tmp_path) == []
    monkeypatch.setattr("feature_store.pit.dataset.write_rows", lambda *_: [][0])
    with pytest.raises(IndexError):
        build()
    assert left_in(tmp_path) == []


def left_in(folder: Path) -> list[Path]:
    return [path for path in (folder / "training" / ".scratch").glob("*") if path.is_dir()]
