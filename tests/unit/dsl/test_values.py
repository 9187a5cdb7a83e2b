"""Definitions are values: equal, hashable, and the same after a round trip through JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

import feature_store
from feature_store import (
    EMBEDDING,
    FLOAT,
    INT,
    LIST,
    STRING,
    TIMESTAMP,
    BatchSource,
    Entity,
    Feature,
    FeatureGroup,
    FeatureView,
    StreamSource,
    agg,
    session,
)
from feature_store.dsl.collect import load_project
from feature_store.dsl.window import Window, parse_window
from feature_store.dtypes import DType, from_micros, parse_dtype, to_micros
from feature_store.duration import format_duration, parse_duration
from feature_store.errors import DefinitionError, NotFoundError


def test_every_shop_definition_survives_json() -> None:
    project = load_project("feature_defs")
    for group in project.groups:
        copy = FeatureGroup.from_json(json.loads(json.dumps(group.to_json())))
        assert copy == group
        assert hash(copy) == hash(group)
    for view in project.views:
        assert FeatureView.from_json(json.loads(json.dumps(view.to_json()))) == view


@pytest.mark.parametrize(
    ("entity", "keys"),
    [
        (Entity("user", join_key="user_id"), {"user_id": STRING}),
        (Entity("user", join_key="user_id", dtype=INT), {"user_id": INT}),
        (Entity("pair", join_key=("a", "b")), {"a": STRING, "b": STRING}),
        (Entity("pair", join_key=("b", "a"), dtype=(STRING, INT)), {"b": STRING, "a": INT}),
        (Entity("pair", join_key=["b", "a"], dtype=INT), {"b": INT, "a": INT}),  # type: ignore[arg-type]
    ],
)
def test_an_entity_has_one_key_column_or_several(entity: Entity, keys: dict[str, DType]) -> None:
    assert list(entity.keys.items()) == list(keys.items())
    assert Entity.from_json(json.loads(json.dumps(entity.to_json()))) == entity


def test_the_order_of_key_columns_matters() -> None:
    assert Entity("pair", join_key=("a", "b")) != Entity("pair", join_key=("b", "a"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"join_key": ()}, "join_key needs one column, or several different ones"),
        ({"join_key": ("a", "a")}, "join_key needs one column, or several different ones"),
        ({"join_key": ("a", "b"), "dtype": (STRING,)}, "join_key has 2 columns, dtype has 1 types"),
        ({"join_key": "a", "dtype": (STRING, INT)}, "join_key has 1 columns, dtype has 2 types"),
        ({"join_key": ("a", "b"), "dtype": ("STRING", "TEXT")}, "'TEXT' is not a type"),
    ],
)
def test_a_wrong_key_is_told(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        Entity("pair", **arguments)


_SCHEMA = {"user_id": STRING, "ts": TIMESTAMP, "n": INT}
_LOG = BatchSource("all_clicks", table="raw.clicks", event_timestamp="ts", schema=_SCHEMA)


@pytest.mark.parametrize(
    "stream",
    [
        {},
        {"history": _LOG},
        {"format": "avro", "avro_schema": "{}", "time_format": "us", "event_id": "n"},
        {"max_out_of_orderness": "2s", "allowed_lateness": "1h", "heartbeats": False, "description": "clicks"},
    ],
)
@pytest.mark.parametrize("more", [{}, {"commit_interval": "1m", "parallelism": 4, "slide": "5s", "freshness": "30s"}])
def test_streaming_groups_survive_json(stream: dict[str, object], more: dict[str, object]) -> None:
    source = StreamSource("clicks", topic="clicks", event_timestamp="ts", schema=_SCHEMA, **stream)  # type: ignore[arg-type]
    features = [
        Feature("user_session_n", agg.stddev("n"), window=session("30m"), dtype=FLOAT),
        Feature("user_n_30m", agg.first_n("n", 3), window="30m", dtype=LIST(INT)),
        Feature("user_n_500ms", agg.last_n("n", 3), window="500ms", dtype=LIST(INT)),
    ]
    group = FeatureGroup(
        "user_clicks",
        entity=Entity("user", join_key="user_id"),
        source=source,
        owner="team:t",
        features=features,
        **more,  # type: ignore[arg-type]
    )
    copy = FeatureGroup.from_json(json.loads(json.dumps(group.to_json())))
    assert copy == group
    assert copy.stream == source
    assert copy.all_sources == group.all_sources
    assert StreamSource.from_json(json.loads(json.dumps(source.to_json()))) == source


def test_windows_are_read_as_written() -> None:
    for window in (Window(None), Window(1_000), Window(90_000_000, session=True)):
        assert parse_window(str(window)) == window
    assert str(session("60m")) == "session(1h)"
    for text in ("session()", "session(0s)", "session(all_time)", "session", "0s"):
        with pytest.raises(ValueError, match=r"not a duration|length 0"):
            parse_window(text)


def test_a_timestamp_default_survives_json() -> None:
    feature = Feature("user_at", agg.max("ts"), window="1d", dtype=TIMESTAMP, default=datetime(2026, 1, 1, tzinfo=UTC))
    assert Feature.from_json(json.loads(json.dumps(feature.to_json()))).default == feature.default


def test_definitions_differ_by_content_only() -> None:
    one = Feature("user_n_1d", agg.count(), window="1d", dtype=INT)
    assert one == Feature("user_n_1d", agg.count(), window="24h", dtype=INT)
    assert one != Feature("user_n_1d", agg.count(), window="2d", dtype=INT)
    assert len({one, Feature("user_n_1d", agg.count(), window="1d", dtype=INT)}) == 1


def test_unknown_names_list_what_there_is() -> None:
    with pytest.raises(NotFoundError, match="no feature view 'nope@1' -> feature views are: ranking@1, repurchase@1"):
        load_project("feature_defs").view("nope@1")
    with pytest.raises(NotFoundError, match="no feature group 'user_order@1' -> did you mean 'user_orders@1'"):
        load_project("feature_defs").group("user_order@1")


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
    assert parse_duration("1500ms") == 1_500_000
    assert [format_duration(parse_duration(text)) for text in ("1500ms", "2000ms", "0ms", "86400000ms")] == [
        "1500ms", "2s", "0s", "1d",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="one of ms, s, m, h, d, w, such as '90d'"):
        parse_duration("1.5h")


def test_the_client_is_a_public_name_that_definitions_do_not_pay_for() -> None:
    code = (
        "import sys, feature_store; print('feature_store.client' in sys.modules, feature_store.FeatureStore.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "FeatureStore"]
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = feature_store.Nothing
