"""What a person reads of a skew report, and what JSON has of it."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from feature_store.online.vectors import Status
from feature_store.skew.baseline import offline_baseline
from feature_store.skew.document import report_document
from feature_store.skew.render import render_report
from feature_store.skew.replay import replay
from feature_store.skew.report import SkewReport, skew_report
from feature_store.skew.served_table import served_table
from tests.unit.pit.pit_cases import NOON, at, group, label, row, view
from tests.unit.skew.skew_cases import catalog_with, served

ORDERS = group()


def report(folder: Path, answers: list[int], served_at: int = -5) -> SkewReport:
    """A report of one user with 7 in training, of whom these values were served."""
    catalog = catalog_with(folder, [(ORDERS, [row(-5, 7)])])
    reads = [label(-1)] * len(answers)
    rows_at = {place: {ORDERS.id: (Status.PRESENT, at(served_at))} for place in range(len(answers))}
    table = served(view(ORDERS), reads, [{"orders_value": answer} for answer in answers], rows_at)
    training = offline_baseline(catalog, view(ORDERS), NOON, 30)
    return skew_report(view(ORDERS), table, training, replay(catalog, view(ORDERS), table), NOON)


def text(of: SkewReport) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(render_report(of))
    return captured.get()


def test_a_view_that_serves_what_it_is_trained_on(tmp_path: Path) -> None:
    found = text(report(tmp_path, [7, 7]))
    assert "ranking@1: 2 served rows beside rows of the offline store, last 30 days" in found
    assert "no feature is skewed" in found
    assert "ranking@1: 2 values served, 2 equal to training" in found


def test_values_that_differ_are_named_with_their_rows(tmp_path: Path) -> None:
    found = text(report(tmp_path, [7, 8], served_at=-6))
    assert "2 values served, 1 equal to training" in found
    assert "orders_value: 1 behind" in found
    assert "user_id='u' at 2025-03-01 11:59:59+0000: served 8, training has 7 (behind)" in found


def test_the_document_is_json_with_all_figures(tmp_path: Path) -> None:
    found = json.loads(json.dumps(report_document(report(tmp_path, [7, 8]))))
    (feature,) = found["features"]
    (facet,) = feature["facets"]
    assert (feature["name"], feature["group"], feature["is_skewed"]) == ("orders_value", "orders@1", False)
    assert facet["bins"] == ["< 7", "<= 7", "> 7"]
    assert (facet["training"], facet["serving"]) == ([0, 1, 0], [0, 0, 1]), "both reads are of one row"
    assert facet["divergence"]["js"] == 1
    (replayed,) = found["replay"]["features"]
    assert (found["replay"]["compared"], found["replay"]["equal"]) == (2, 1)
    assert replayed["outcomes"] == {"equal": 1, "different": 1}
    assert replayed["deltas"] == {"p50": 1, "p95": 1, "max": 1}
    assert replayed["examples"][0]["keys"] == {"user_id": "u"}


def test_a_row_that_was_served_often_counts_once(tmp_path: Path) -> None:
    users, times = ["u"] * 500 + ["v", "w"], [-5] * 500 + [-5, -6]
    rows = [row(-5, 7), row(-5, 8, user="v"), row(-6, 9, user="w")]
    reads = [label(-1, user) for user in users]
    answers = [{"orders_value": {"u": 7, "v": 8, "w": 9}[user]} for user in users]
    rows_at = {place: {ORDERS.id: (Status.PRESENT, at(time))} for place, time in enumerate(times)}
    table, catalog = served(view(ORDERS), reads, answers, rows_at), catalog_with(tmp_path, [(ORDERS, rows)])
    training = offline_baseline(catalog, view(ORDERS), NOON, 30)
    (feature,) = skew_report(view(ORDERS), table, training, replay(catalog, view(ORDERS), table), NOON).features
    assert (feature.serving.count, feature.js) == (3, 0)


def test_a_reader_does_not_see_masked_features(tmp_path: Path) -> None:
    hidden = report(tmp_path, [7, 8]).without({"orders_value"})
    assert (hidden.features, hidden.replay.features) == ((), ())
    assert "orders_value" not in text(hidden)


def test_nothing_was_served_yet(tmp_path: Path) -> None:
    catalog = catalog_with(tmp_path, [(ORDERS, [row(-5, 7)])])
    table = served_table(view(ORDERS), [])
    training = offline_baseline(catalog, view(ORDERS), NOON, 30)
    nothing = skew_report(view(ORDERS), table, training, replay(catalog, view(ORDERS), table), NOON)
    assert "no served values to compare yet" in text(nothing)
    assert not nothing.skewed
