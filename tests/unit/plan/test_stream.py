"""Streaming groups: what they take over from their stream, and what of them is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

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
    StreamSource,
    agg,
    session,
)
from feature_store.dsl.collect import Project
from feature_store.duration import HOUR, MINUTE, SECOND
from feature_store.errors import DefinitionError, DefinitionErrors
from feature_store.plan.build import build_plan
from feature_store.plan.lineage import feature_lineage
from feature_store.plan.nodes import WindowedRows
from feature_store.plan.project import compile_project

USER = Entity("user", join_key="user_id")
SCHEMA = {"user_id": STRING, "ts": TIMESTAMP, "amount": FLOAT, "n": INT, "id": STRING}
COUNT = Feature("user_click_count_30m", agg.count(), window="30m", dtype=INT)


def stream(**changes: Any) -> StreamSource:
    arguments: dict[str, Any] = {"topic": "clicks", "event_timestamp": "ts", "schema": SCHEMA, "event_id": "id"}
    return StreamSource("clicks", **(arguments | changes))


def log(**changes: Any) -> BatchSource:
    arguments: dict[str, Any] = {"event_timestamp": "ts", "schema": SCHEMA, "event_id": "id"}
    return BatchSource("all_clicks", **(arguments | changes))


def group(**changes: Any) -> FeatureGroup:
    arguments: dict[str, Any] = {"entity": USER, "source": stream(), "owner": "team:shop", "features": [COUNT]}
    return FeatureGroup(**({"name": "user_activity"} | arguments | changes))


def refusals(definition: FeatureGroup) -> dict[str, DefinitionError]:
    with pytest.raises(DefinitionErrors) as caught:
        build_plan(definition)
    assert all(error.remedy and "group user_activity@1" in error.where for error in caught.value.errors)
    return {error.code: error for error in caught.value.errors}


def test_a_streaming_group_is_planned_over_its_log() -> None:
    plan = build_plan(group())
    assert isinstance(plan.rows, WindowedRows)
    assert plan.stream == stream()
    assert plan.sources == (plan.rows.source,)
    assert (plan.rows.source.name, plan.rows.source.table, plan.rows.source.event_id) == (
        "clicks_log",
        "events.clicks",
        "id",
    )
    assert feature_lineage(plan)["user_click_count_30m"] == (("clicks_log", "ts"),)


def test_defaults_of_streams() -> None:
    definition = group()
    assert (definition.slide_size, definition.freshness_size, definition.commit_size) == (
        SECOND,
        2 * MINUTE,
        5 * MINUTE,
    )
    assert group(slide="1m").slide_size == MINUTE
    assert group(freshness="30s").freshness_size == 30 * SECOND


@pytest.mark.parametrize(("given", "size"), [(None, 2 * SECOND), ("0s", 0), ("500ms", SECOND // 2), ("1h", HOUR)])
def test_any_availability_delay_is_right(given: str | None, size: int) -> None:
    """Two seconds unless given: what serving is taken to need until a row of a stream is readable."""
    assert build_plan(group(availability_delay=given)).schema.availability_delay == size
    batch = group(source=log(table="raw.clicks"), slide="1m", availability_delay=given)
    assert build_plan(batch).schema.availability_delay == (0 if given is None else size)


def test_a_history_is_the_log_in_force() -> None:
    history = log(table="raw.clicks")
    assert build_plan(group(source=stream(history=history))).sources == (history,)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"emit": "snapshot"}, "emit"),
        ({"slide": "500ms"}, "slide"),
        ({"slide": "0s"}, "slide"),
        ({"slide": "7s"}, "slide"),
        ({"freshness": "999ms"}, "freshness"),
        ({"commit_interval": "500ms"}, "commit-interval"),
        ({"commit_interval": "2h"}, "commit-interval"),
        ({"parallelism": 0}, "parallelism"),
        ({"parallelism": 257}, "parallelism"),
        ({"ttl": "30m"}, "ttl"),
        ({"source": stream(allowed_lateness="500ms")}, "lateness"),
        ({"slide": "1m", "source": stream(allowed_lateness="59s")}, "lateness"),
        ({"source": stream(schema=SCHEMA | {"tags": LIST(STRING)})}, "type"),
        ({"source": stream(schema=SCHEMA | {"image": EMBEDDING(3)})}, "type"),
        ({"source": stream(schema=SCHEMA | {"_at": INT})}, "reserved-name"),
        ({"source": stream(schema=SCHEMA | {"kafka_offset": INT})}, "reserved-name"),
        ({"source": stream(topic="")}, "topic"),
        ({"source": stream(topic="a b")}, "topic"),
        ({"source": stream(topic="a" * 201)}, "topic"),
        ({"source": stream(topic="..")}, "topic"),
        ({"source": stream(history=log(path="clicks/*.parquet"))}, "history"),
        ({"source": stream(history=log(jdbc="shop.public.clicks"))}, "history"),
        ({"source": stream(history=log(table="raw.clicks", schema=SCHEMA | {"n": FLOAT}))}, "history"),
        ({"source": stream(history=log(table="raw.clicks", event_id=None))}, "history"),
        ({"source": StreamSource("Clicks", topic="clicks", event_timestamp="ts", schema=SCHEMA)}, "source-name"),
        ({"source": stream(event_timestamp="when")}, "event-timestamp"),
        ({"source": stream(event_timestamp="n")}, "event-timestamp"),
        ({"source": stream(event_id="uuid")}, "event-id"),
        ({"entity": Entity("user", join_key="uid")}, "join-key"),
        ({"source": log(table="raw.clicks"), "commit_interval": "1m", "slide": "1m"}, "stream-setting"),
        ({"source": log(table="raw.clicks"), "parallelism": 4, "slide": "1m"}, "stream-setting"),
    ],
)
def test_each_mistake_has_its_code(changes: dict[str, Any], code: str) -> None:
    assert list(refusals(group(**changes))) == [code]


def test_what_is_at_the_edge_is_right() -> None:
    build_plan(group(availability_delay="500ms", freshness="1s", commit_interval="1s", parallelism=1))
    build_plan(group(commit_interval="1h", ttl="31m", source=stream(allowed_lateness="1s", topic="A.b_c-1")))


def test_messages_teach() -> None:
    found = refusals(group(emit="snapshot"))
    assert "a stream writes rows on change" in found["emit"].message
    assert (
        "or leave it out: then it is events.clicks"
        in refusals(group(source=stream(history=log(path="x"))))["history"].remedy
    )


def test_a_query_reads_no_stream() -> None:
    with pytest.raises(DefinitionError, match="instance of BatchSource"):
        group(source=None, query="SELECT user_id FROM clicks", sources=[stream()])


def test_an_avro_schema_goes_with_avro() -> None:
    with pytest.raises(
        DefinitionError, match=r"test_stream.py:\d+: StreamSource 'clicks' cannot be built: format='avro'"
    ):
        stream(format="avro")
    with pytest.raises(DefinitionError, match="avro_schema= goes with format='avro'"):
        stream(avro_schema="{}")


def avro(fields: dict[str, Any], schema: dict[str, Any], **more: Any) -> list[str]:
    """The problems of a writer's schema with some fields more than those of a good one."""
    good = {"user_id": "string", "ts": {"type": "long", "logicalType": "timestamp-micros"}, "id": "string"}
    record = {"type": "record", "name": "Click", "fields": [{"name": n, "type": t} for n, t in (good | fields).items()]}
    columns = {"user_id": STRING, "ts": TIMESTAMP, "id": STRING} | schema
    definition = group(source=stream(format="avro", avro_schema=json.dumps(record), schema=columns, **more))
    try:
        build_plan(definition)
    except DefinitionErrors as errors:
        return [f"{error.code}: {error.message} -> {error.remedy}" for error in errors.errors]
    return []


@pytest.mark.parametrize(
    ("written", "dtype"),
    [
        ("string", STRING),
        ({"type": "string", "avro.java.string": "String"}, STRING),
        (["null", "string"], STRING),
        (["int", "null"], INT),
        ("long", INT),
        ("double", FLOAT),
        ("float", FLOAT),
        ("int", FLOAT),
        ("long", FLOAT),
        (["null", {"type": "long", "logicalType": "timestamp-millis"}], TIMESTAMP),
    ],
)
def test_avro_fields_that_fit(written: Any, dtype: Any) -> None:
    assert avro({"x": written, "more": {"type": "map", "values": "int"}}, {"x": dtype}) == []


@pytest.mark.parametrize(
    ("written", "dtype"),
    [
        ("int", STRING),
        ("bytes", STRING),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, STRING),
        ("double", INT),
        ("string", FLOAT),
        (["null", "int", "string"], INT),
        (["null"], INT),
        ("long", TIMESTAMP),
        ("string", TIMESTAMP),
        ({"type": "int", "logicalType": "date"}, TIMESTAMP),
        ({"type": "long", "logicalType": "timestamp-nanos"}, TIMESTAMP),
        ({"type": "long", "logicalType": "local-timestamp-micros"}, TIMESTAMP),
    ],
)
def test_avro_fields_that_do_not(written: Any, dtype: Any) -> None:
    (problem,) = avro({"x": written}, {"x": dtype})
    assert problem.startswith("avro-schema: ")
    assert f"the Avro field 'x' is {json.dumps(written)}, its column is {dtype} -> " in problem


def test_plain_longs_are_instants_where_the_source_says_in_which_unit() -> None:
    assert avro({"x": "long"}, {"x": TIMESTAMP}, time_format="ms") == []
    assert avro({"x": ["null", "long"]}, {"x": TIMESTAMP}, time_format="us") == []


def test_other_mistakes_in_an_avro_schema() -> None:
    assert avro({}, {"x": INT}) == [
        "avro-schema: source 'clicks': avro_schema has no field 'x' -> its fields are: user_id, ts, id",
    ]
    for text, message in (
        ("{", "is not JSON"),
        ('"string"', "is not a record"),
        ('{"type": "record"}', "is not a record"),
    ):
        found = refusals(group(source=stream(format="avro", avro_schema=text)))
        assert message in found["avro-schema"].message


def test_fingerprints_of_streams() -> None:
    one = build_plan(group())
    assert len(one.state_fingerprint) == 16
    for same in (
        group(commit_interval="1m", parallelism=4, freshness="1m", owner="team:other"),
        group(source=stream(max_out_of_orderness="5s", allowed_lateness="1h", topic="clicks2", heartbeats=False)),
    ):
        assert build_plan(same).fingerprint == one.fingerprint
        assert build_plan(same).state_fingerprint == one.state_fingerprint
    derived = build_plan(group(derived={"user_half": "user_click_count_30m / 2"}, availability_delay="100ms"))
    assert derived.fingerprint != one.fingerprint
    assert derived.state_fingerprint == one.state_fingerprint
    batch = group(source=log(table="raw.clicks"), slide="1m")
    assert build_plan(batch).state_fingerprint == ""


def test_the_state_depends_on_what_is_read_only() -> None:
    total = Feature("user_sum_30m", agg.sum("double"), window="30m", dtype=INT)
    features = [COUNT, total]
    one = build_plan(group(features=features, columns={"double": "n * 2", "idle": "n + 1"})).state_fingerprint
    more = stream(schema={name: dtype for name, dtype in SCHEMA.items() if name != "amount"} | {"new": STRING})
    same = [
        group(features=features[::-1], columns={"double": "n*2"}),
        group(features=features, columns={"double": "n * 2"}, source=more),
    ]
    assert {build_plan(g).state_fingerprint for g in same} == {one}
    different = [
        group(features=features, columns={"double": "n * 3"}),
        group(features=features, columns={"double": "n * 2"}, where="n > 0"),
        group(features=features, columns={"double": "n * 2"}, slide="2s"),
        group(features=features, columns={"double": "n * 2"}, source=stream(event_id=None)),
        group(features=[total], columns={"double": "n * 2"}),
    ]
    assert one not in {build_plan(g).state_fingerprint for g in different}


def test_a_session_and_a_window_of_one_length_are_different() -> None:
    def plan_of(window: Any, name: str = "user_session_count_30m") -> tuple[str, str]:
        feature = Feature(name, agg.count(), window=window, dtype=INT)
        plan = build_plan(group(features=[feature]))
        return plan.fingerprint, plan.state_fingerprint

    sliding, of_session = plan_of("30m"), plan_of(session("30m"))
    assert sliding[0] != of_session[0]
    assert sliding[1] != of_session[1]


def test_sessions_are_checked_like_windows() -> None:
    def of_session(gap: str, name: str = "user_session_view_count", **changes: Any) -> FeatureGroup:
        return group(features=[Feature(name, agg.count(), window=session(gap), dtype=INT)], **changes)

    assert build_plan(of_session("30m", ttl="31m")).rows.windows == (30 * MINUTE,)  # type: ignore[union-attr]
    assert list(refusals(of_session("30m", ttl="30m"))) == ["ttl"]
    assert list(refusals(of_session("1500ms"))) == ["slide"]
    assert "session(1500ms)" in refusals(of_session("1500ms"))["slide"].message
    for name, suggestion in (
        ("user_view_count", "user_view_count_session"),
        ("user_view_count_30m", "user_view_count_session"),
        ("user_sessions_count", "user_sessions_count_session"),
    ):
        assert f"name it '{suggestion}'" in refusals(of_session("30m", name))["feature-name"].remedy


@pytest.mark.parametrize(
    ("function", "dtype", "code"),
    [
        (agg.stddev("id"), FLOAT, "type"),
        (agg.stddev("n"), INT, "type"),
        (agg.first("n"), FLOAT, "type"),
        (agg.first_n("n", 3), INT, "type"),
        (agg.first_n("n", 0), LIST(INT), "type"),
        (agg.last_n("n", 1001), LIST(INT), "type"),
        (agg.last_n("what", 3), LIST(INT), "unknown-column"),
    ],
)
def test_wrong_aggregations(function: Any, dtype: Any, code: str) -> None:
    found = refusals(group(features=[Feature("user_x_1m", function, window="1m", dtype=dtype)]))
    assert list(found) == [code]


def test_aggregations_are_shown_as_written() -> None:
    assert str(agg.last_n("word", 3)) == "last_n(word, n=3)"
    assert str(agg.top_k("word", 3)) == "top_k(word, k=3)"


def test_one_name_or_log_is_one_stream() -> None:
    def errors(*sources: StreamSource) -> str:
        groups = tuple(group(name=f"user_g{i}", source=source) for i, source in enumerate(sources))
        try:
            compile_project(Project(groups, (), {}))
        except DefinitionErrors as caught:
            return str(caught)
        return ""

    assert errors(stream(), stream()) == ""
    assert "two different streams have the name 'clicks'" in errors(stream(), stream(topic="other"))
    other = StreamSource("other", topic="other", event_timestamp="ts", schema=SCHEMA, event_id="id",
                         history=log(table="events.clicks"))  # fmt: skip
    assert "two different streams have the event log table events.clicks" in errors(stream(), other)
