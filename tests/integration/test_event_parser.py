"""The parser of messages in the kernel's jar: what it reads, and what it says of each thing that is wrong."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import fastavro
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_store.dtypes import INT_MAX, INT_MIN, to_micros
from tests.integration.kernel_harness import KernelHarness

IN_HARNESS = settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
COLUMNS = {"user": "STRING", "ts": "TIMESTAMP", "amount": "FLOAT", "n": "INT", "ok": "BOOL"}
AT = 1_767_225_600_000_000
ISO = "2026-01-01T00:00:00Z"
FIRST, LAST = datetime(1, 1, 3), datetime(9999, 12, 29)  # noqa: DTZ001 - hypothesis wants bounds without a zone


def spec(columns: dict[str, str] = COLUMNS, **changes: Any) -> dict[str, Any]:
    return {
        "format": "json",
        "time_format": "iso",
        "event_timestamp": "ts",
        "avro_schema": None,
        "ahead": None,
        "columns": [{"name": name, "type": dtype} for name, dtype in columns.items()],
    } | changes


def read(harness: KernelHarness, text: str | bytes, **changes: Any) -> tuple[Any, Any, Any]:
    [event] = harness.parse(spec(**changes), [text if isinstance(text, bytes) else text.encode()])
    return event["at"], event["problem"], event["values"]


def test_all_types(harness: KernelHarness) -> None:
    text = '{"user":"ü\\ud83d\\ude00","ts":"2026-01-01T00:00:00Z","amount":1.5,"n":-7,"ok":true,"more":{"a":[1,{}]}}'
    assert read(harness, text) == (AT, None, ["ü😀", AT, 1.5, -7, True])


def test_missing_and_null_fields_are_null(harness: KernelHarness) -> None:
    assert read(harness, f'{{"ts":"{ISO}","n":null}}') == (AT, None, [None, AT, None, None, None])


@pytest.mark.parametrize(
    "text", ["", " ", "nonsense", "[]", "[{}]", "1", "null", '"text"', "{", "}", '{"ts":', "{} {}", "{}x", "{'a':1}",
             "{a:1}", '{"n":NaN}', '{"n":01}', '{"n":+1}', '{"n":1,}', '{"user":"a\tb"}', b'{"user":"\xff"}', b"\x00",
             "<a/>"],
)  # fmt: skip
def test_what_is_not_a_json_object(harness: KernelHarness, text: str | bytes) -> None:
    assert read(harness, text) == (None, "not a JSON object", [None] * 5)


@pytest.mark.parametrize(
    ("field", "problem"),
    [
        ('"amount":"1.5"', "column 'amount': text where FLOAT is needed"),
        ('"amount":true', "column 'amount': true or false where FLOAT is needed"),
        ('"n":1.0', "column 'n': a fractional number where INT is needed"),
        ('"n":1e3', "column 'n': a fractional number where INT is needed"),
        ('"n":"1"', "column 'n': text where INT is needed"),
        ('"n":9223372036854775808', "column 'n': a number that does not fit 64 bits"),
        ('"n":-9223372036854775809', "column 'n': a number that does not fit 64 bits"),
        ('"user":1', "column 'user': a whole number where STRING is needed"),
        ('"user":["a"]', "column 'user': an array where STRING is needed"),
        ('"user":{"a":1}', "column 'user': an object where STRING is needed"),
        ('"user":"\\ud83d"', "column 'user': a text that is not Unicode"),
        ('"ok":0', "column 'ok': a whole number where BOOL is needed"),
        ('"ok":"true"', "column 'ok': text where BOOL is needed"),
    ],
)
def test_mistyped_fields(harness: KernelHarness, field: str, problem: str) -> None:
    assert read(harness, f'{{"ts":"{ISO}",{field}}}') == (None, problem, [None] * 5)


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ('"2026-01-01T00:00:00"', "column 'ts': a time without an offset"),
        ('"2026-01-01"', "column 'ts': a text that is no ISO instant"),
        ('"yesterday"', "column 'ts': a text that is no ISO instant"),
        ('"2026-02-30T00:00:00Z"', "column 'ts': a text that is no ISO instant"),
        ('"2026-01-01T00:00:00Z "', "column 'ts': a text that is no ISO instant"),
        ('"0000-12-31T23:59:59Z"', "column 'ts': an instant outside the years 1 to 9999"),
        ("1767225600000", "column 'ts': a whole number where TIMESTAMP is needed"),
        ("null", "no event time"),
    ],
)
def test_event_times_that_are_none(harness: KernelHarness, written: str, problem: str) -> None:
    assert read(harness, f'{{"ts":{written}}}') == (None, problem, [None] * 5)


@pytest.mark.parametrize(
    "written",
    ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000000+00:00", "2026-01-01T02:30:00+02:30",
     "2025-12-31 19:00:00-0500", "2026-01-01T00:00Z", "2026-01-01t00:00:00.000000999z", "2026-01-01T01:00:00+01"],
)  # fmt: skip
def test_ways_to_write_an_instant(harness: KernelHarness, written: str) -> None:
    assert read(harness, f'{{"ts":"{written}"}}')[:2] == (AT, None)


@IN_HARNESS
@given(
    instants=st.lists(
        st.datetimes(
            min_value=FIRST,
            max_value=LAST,
            timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(-timedelta(hours=11))]),
        ),
        min_size=1,
    )
)
def test_instants_to_the_microsecond(harness: KernelHarness, instants: Sequence[datetime]) -> None:
    texts = [json.dumps({"ts": instant.isoformat()}).encode() for instant in instants]
    assert [event["at"] for event in harness.parse(spec(), texts)] == [to_micros(instant) for instant in instants]
    micros = [json.dumps({"ts": to_micros(instant)}).encode() for instant in instants]
    assert [e["at"] for e in harness.parse(spec(time_format="us"), micros)] == list(map(to_micros, instants))
    millis = [json.dumps({"ts": to_micros(instant) // 1000}).encode() for instant in instants]
    found = harness.parse(spec(time_format="ms"), millis)
    assert [event["at"] for event in found] == [to_micros(instant) // 1000 * 1000 for instant in instants]


def test_times_as_numbers_must_be_whole_and_possible(harness: KernelHarness) -> None:
    outside = "column 'ts': an instant outside the years 1 to 9999"
    assert read(harness, '{"ts":253402300799999}', time_format="ms")[0] == 253_402_300_799_999_000
    assert read(harness, '{"ts":253402300800000}', time_format="ms")[1] == outside
    assert read(harness, '{"ts":99999999999999999999}', time_format="us")[1] == outside
    assert read(harness, '{"ts":1.5}', time_format="us")[1] == (
        "column 'ts': a fractional number where TIMESTAMP is needed"
    )
    assert read(harness, f'{{"ts":"{ISO}"}}', time_format="us")[1] == "column 'ts': text where TIMESTAMP is needed"


def test_floats_that_are_too_large_are_null_and_there_is_one_zero(harness: KernelHarness) -> None:
    assert read(harness, f'{{"ts":"{ISO}","amount":1e999}}')[1:] == (None, [None, AT, None, None, None])
    [event] = harness.parse(spec(), [f'{{"ts":"{ISO}","amount":-0.0}}'.encode()])
    assert str(event["values"][2]) == "0.0"
    assert read(harness, f'{{"ts":"{ISO}","amount":12345678901234567890}}')[2][2] == 12345678901234567890.0


def test_of_two_fields_of_one_name_the_last_counts(harness: KernelHarness) -> None:
    assert read(harness, f'{{"ts":"{ISO}","n":"x","n":2}}')[1:] == (None, [None, AT, None, 2, None])
    assert read(harness, f'{{"ts":"{ISO}","n":2,"n":"x"}}')[1] == "column 'n': text where INT is needed"
    assert read(harness, f'{{"ts":"{ISO}","n":2,"n":null}}')[2][3] is None


@IN_HARNESS
@given(
    rows=st.lists(
        st.fixed_dictionaries({
            "user": st.none() | st.text(),
            "amount": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            "n": st.none() | st.integers(INT_MIN, INT_MAX),
            "ok": st.none() | st.booleans(),
        }),
        min_size=1,
    ),
    ascii_only=st.booleans(),
)  # fmt: skip
def test_json_of_any_values(harness: KernelHarness, rows: list[dict[str, Any]], ascii_only: bool) -> None:
    texts = [json.dumps({"extra": rows, "ts": ISO} | row, ensure_ascii=ascii_only).encode() for row in rows]
    for row, event in zip(rows, harness.parse(spec(), texts), strict=True):
        assert event["problem"] is None
        assert event["values"] == [row["user"], AT, row["amount"], row["n"], row["ok"]]


@IN_HARNESS
@given(payloads=st.lists(st.binary(max_size=40) | st.text(alphabet='{}[]":,0123456789entrufals\\', max_size=30)))
def test_no_bytes_break_the_parser(harness: KernelHarness, payloads: list[bytes | str]) -> None:
    data = [payload if isinstance(payload, bytes) else payload.encode() for payload in payloads]
    for changes in ({}, {"format": "avro", "avro_schema": json.dumps(SCHEMA), "time_format": "us"}):
        for event in harness.parse(spec(AVRO_COLUMNS if changes else COLUMNS, **changes), data):
            assert (event["problem"] is None) == (event["at"] is not None)


def test_heartbeats_and_events_from_the_future(harness: KernelHarness) -> None:
    beat = b'{"__feature_store_heartbeat__":%d}' % (AT // 1000)
    other = b'{"__feature_store_heartbeat__":"x"}'
    texts = [beat, other, f'{{"ts":"{ISO}"}}'.encode()]
    limited = spec(ahead=600_000_000)
    found = [(event["at"], event["problem"]) for event in harness.parse(limited, texts, clock=AT - 600_000_000)]
    assert found == [(AT, "heartbeat"), (None, "no event time"), (AT, None)]
    ahead = "event time 2026-01-01T00:00:00Z is 601 s ahead of the clock"
    found = [(event["at"], event["problem"]) for event in harness.parse(limited, texts, clock=AT - 601_000_000)]
    assert found == [(AT, ahead), (None, "no event time"), (AT, ahead)]


AVRO_COLUMNS = COLUMNS | {"kind": "STRING", "seen": "TIMESTAMP"}
SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "click",
    "fields": [
        {"name": "extra", "type": {"type": "array", "items": {"type": "map", "values": ["null", "bytes", "string"]}}},
        {"name": "user", "type": ["null", "string"]},
        {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "nested", "type": ["null", {"type": "record", "name": "inner", "fields": [
            {"name": "x", "type": {"type": "fixed", "name": "four", "size": 4}}, {"name": "y", "type": "float"}]}]},
        {"name": "amount", "type": ["double", "null"]},
        {"name": "n", "type": "long"},
        {"name": "ok", "type": ["null", "boolean"]},
        {"name": "kind", "type": {"type": "enum", "name": "kinds", "symbols": ["view", "buy"]}},
        {"name": "seen", "type": ["null", "long"]},
    ],
}  # fmt: skip
PARSED_SCHEMA = fastavro.parse_schema(SCHEMA)
AVRO = {"format": "avro", "avro_schema": json.dumps(SCHEMA), "time_format": "us"}
RECORDS = st.fixed_dictionaries({
    "extra": st.lists(st.dictionaries(st.text(max_size=3), st.none() | st.binary(max_size=3) | st.text(max_size=3))),
    "user": st.none() | st.text(),
    "ts": st.datetimes(FIRST, LAST, timezones=st.just(UTC)),
    "nested": st.none() | st.fixed_dictionaries({"x": st.binary(min_size=4, max_size=4), "y": st.just(1.5)}),
    "amount": st.none() | st.floats(allow_nan=False, allow_infinity=False),
    "n": st.integers(INT_MIN, INT_MAX),
    "ok": st.none() | st.booleans(),
    "kind": st.sampled_from(["view", "buy"]),
    "seen": st.none() | st.integers(-(10**15), 10**15),
})  # fmt: skip


def avro(record: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, PARSED_SCHEMA, record)
    return out.getvalue()


@IN_HARNESS
@given(records=st.lists(RECORDS, min_size=1, max_size=5))
def test_avro_records(harness: KernelHarness, records: list[dict[str, Any]]) -> None:
    found = harness.parse(spec(AVRO_COLUMNS, **AVRO), [avro(record) for record in records])
    for record, event in zip(records, found, strict=True):
        at = to_micros(record["ts"]) // 1000 * 1000
        columns = [record["user"], at, *(record[name] for name in ("amount", "n", "ok", "kind", "seen"))]
        assert (event["at"], event["problem"], event["values"]) == (at, None, columns)


@settings(IN_HARNESS, max_examples=30)
@given(record=RECORDS, data=st.data())
def test_broken_avro_records(harness: KernelHarness, record: dict[str, Any], data: st.DataObject) -> None:
    whole = avro(record)
    shorter = whole[: data.draw(st.integers(0, len(whole) - 1))]
    broken = harness.parse(spec(AVRO_COLUMNS, **AVRO), [shorter, whole + b"\0", b"\x01" + b"\xff" * 8 + b"\x7f"])
    assert [event["problem"] for event in broken] == ["not an Avro record of the schema"] * 3


def test_mistyped_avro_fields_are_named(harness: KernelHarness) -> None:
    schema = {
        "type": "record",
        "name": "r",
        "fields": [{"name": "ts", "type": "long"}, {"name": "n", "type": "string"}],
    }
    text = json.dumps(schema)
    found = read(harness, b"\x02\x02a", columns={"ts": "TIMESTAMP", "n": "INT"}, format="avro", avro_schema=text)
    assert found[1] == "column 'n': String where INT is needed"
