"""Definitions are values: equal, hashable, and the same after a round trip through JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest

import feature_store
from feature_store import EMBEDDING, FLOAT, INT, LIST, STRING, TIMESTAMP, Feature, FeatureGroup, FeatureView, agg
from feature_store.dsl.collect import load_project
from feature_store.dtypes import DType, from_micros, parse_dtype, to_micros
from feature_store.duration import format_duration, parse_duration
from feature_store.errors import NotFoundError


def test_every_shop_definition_survives_json() -> None:
    project = load_project("feature_defs")
    for group in project.groups:
        copy = FeatureGroup.from_json(json.loads(json.dumps(group.to_json())))
        assert copy == group
        assert hash(copy) == hash(group)
    for view in project.views:
        assert FeatureView.from_json(json.loads(json.dumps(view.to_json()))) == view


def test_a_timestamp_default_survives_json() -> None:
    feature = Feature("user_at", agg.max("ts"), window="1d", dtype=TIMESTAMP, default=datetime(2026, 1, 1, tzinfo=UTC))
    assert Feature.from_json(json.loads(json.dumps(feature.to_json()))).default == feature.default


def test_definitions_differ_by_content_only() -> None:
    one = Feature("user_n_1d", agg.count(), window="1d", dtype=INT)
    assert one == Feature("user_n_1d", agg.count(), window="24h", dtype=INT)
    assert one != Feature("user_n_1d", agg.count(), window="2d", dtype=INT)
    assert len({one, Feature("user_n_1d", agg.count(), window="1d", dtype=INT)}) == 1


def test_unknown_names_list_what_there_is() -> None:
    with pytest.raises(NotFoundError, match="no feature view 'nope@1' -> defined are: ranking@1, repurchase@1"):
        load_project("feature_defs").view("nope@1")


@pytest.mark.parametrize("dtype", [STRING, INT, FLOAT, EMBEDDING(3), LIST(STRING)])
def test_types_are_read_as_written(dtype: DType) -> None:
    assert parse_dtype(str(dtype)) == dtype


@pytest.mark.parametrize(
    ("dtype", "good", "bad"),
    [
        (INT, 2**63 - 1, 2**63),
        (INT, 0, True),
        (FLOAT, 1, float("nan")),
        (EMBEDDING(2), [1.0, 2.0], [1.0]),
        (LIST(STRING), ["a", None], [1]),
        (TIMESTAMP, datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1)),  # noqa: DTZ001
    ],
)
def test_values_belong_to_types(dtype: DType, good: object, bad: object) -> None:
    assert dtype.accepts(good)  # type: ignore[arg-type]
    assert not dtype.accepts(bad)  # type: ignore[arg-type]


def test_instants_are_exact_microseconds() -> None:
    instant = datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    assert to_micros(instant) == -1
    assert from_micros(-1) == instant
    with pytest.raises(ValueError, match="no time zone"):
        to_micros(datetime(2026, 1, 1))  # noqa: DTZ001


def test_durations() -> None:
    assert parse_duration("90m") == 5_400_000_000
    assert [format_duration(parse_duration(text)) for text in ("24h", "90m", "1w", "61s")] == ["1d", "90m", "7d", "61s"]
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration("1.5h")


def test_the_client_is_a_public_name_that_definitions_do_not_pay_for() -> None:
    code = (
        "import sys, feature_store; print('feature_store.client' in sys.modules, feature_store.FeatureStore.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "FeatureStore"]
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = feature_store.Nothing
