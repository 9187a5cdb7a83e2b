"""The expression language: what is typed how, and what is refused with which advice."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from feature_store import BOOL, EMBEDDING, FLOAT, INT, STRING, TIMESTAMP
from feature_store.compile.reference_expressions import IntOverflowError, evaluate
from feature_store.plan.expressions import ExpressionError, parse_condition, parse_expression

SCHEMA = {"amount": FLOAT, "n": INT, "status": STRING, "ts": TIMESTAMP, "ok": BOOL, "seen": TIMESTAMP,
          "a": EMBEDDING(2), "b": EMBEDDING(2), "zero": EMBEDDING(2), "c": EMBEDDING(3)}  # fmt: skip
SEEN = datetime(2026, 1, 31, 23, 30, tzinfo=UTC)  # a Saturday
ROW = {"amount": 2.5, "n": -7, "status": "Done", "ts": None, "ok": None, "seen": SEEN,
       "a": [3.0, 4.0], "b": [4.0, -3.0], "zero": [0.0, 0.0], "c": None}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "dtype", "value"),
    [
        ("n + 1", INT, -6),
        ("n / 2", FLOAT, -3.5),
        ("n / 0", FLOAT, None),
        ("n % 4", INT, -3),
        ("n % 0", INT, None),
        ("-n", INT, 7),
        ("-3", INT, -3),
        ("abs(n)", INT, 7),
        ("amount * 2", FLOAT, 5.0),
        ("n * 0.5", FLOAT, -3.5),
        ("status || '!'", STRING, "Done!"),
        ("lower(status)", STRING, "done"),
        ("upper(status)", STRING, "DONE"),
        ("length(trim('  é '))", INT, 1),
        ("hash_bucket('abc', 1000000000000)", INT, 891568578),
        ("hash_bucket('123456789', 4294967296)", INT, 0xCBF43926),
        ("hash_bucket(status, 1)", INT, 0),
        ("hash_bucket(NULL, 8)", INT, None),
        ("hour_of_day(seen)", INT, 23),
        ("hour_of_day(TIMESTAMP '1969-12-31T23:59:59+02:00')", INT, 21),
        ("hour_of_day(ts)", INT, None),
        ("iso_weekday(seen)", INT, 6),
        ("iso_weekday(TIMESTAMP '1969-12-28T00:00:00Z')", INT, 7),
        ("days_between(TIMESTAMP '2026-01-30T11:30:00Z', seen)", FLOAT, 1.5),
        ("days_between(seen, TIMESTAMP '2026-01-30T11:30:00Z')", FLOAT, -1.5),
        ("ordinal(status, 'Open', 'Done')", INT, 2),
        ("ordinal(status, 'Open')", INT, 0),
        ("ordinal(n, 1, -7)", INT, 2),
        ("ordinal(ok, TRUE)", INT, None),
        ("bucketize(n, 0, 5)", INT, 0),
        ("bucketize(amount, 1, 2.5, 3)", INT, 2),
        ("bucketize(amount, 1, 2)", INT, 2),
        ("bucketize(amount / 0, 1, 2)", INT, None),
        ("bucketize(amount * 1e308 * 1e308, 1)", INT, None),
        ("dot(a, b)", FLOAT, 0.0),
        ("norm(a)", FLOAT, 5.0),
        ("cosine(a, a)", FLOAT, 1.0),
        ("cosine(a, zero)", FLOAT, None),
        ("norm(c)", FLOAT, None),
        ("status = 'Done'", BOOL, True),
        ("status IN ('a', 'Done')", BOOL, True),
        ("n BETWEEN -7 AND 0", BOOL, True),
        ("n > amount", BOOL, False),
        ("ok", BOOL, None),
        ("ok AND FALSE", BOOL, False),
        ("ok OR TRUE", BOOL, True),
        ("NOT ok", BOOL, None),
        ("ok IS NULL", BOOL, True),
        ("n IS NOT NULL", BOOL, True),
        ("n = NULL", BOOL, None),
        ("ts >= TIMESTAMP '2026-01-01T00:00:00Z'", BOOL, None),
        ("CASE WHEN n < 0 THEN 'neg' ELSE 'pos' END", STRING, "neg"),
        ("CASE WHEN ok THEN 1 END", INT, None),
        ("coalesce(NULL, amount)", FLOAT, 2.5),
        ("nullif(n, -7)", INT, None),
        ("amount * 1e308 * 1e308 > 0", BOOL, None),
        ("abs(amount * 1e308 * 1e308) > 0", BOOL, None),
        ("coalesce(amount * 1e308 * 1e308, 1.0) > 0", BOOL, None),
        ("CASE WHEN n < 0 THEN amount * 1e308 * 1e308 END > 0", BOOL, None),
        ("nullif(amount * 1e308 * 1e308, 1.0) IS NULL", BOOL, True),
    ],
)
def test_types_and_values(text: str, dtype: object, value: object) -> None:
    expression = parse_expression(text, SCHEMA)
    assert expression.dtype == dtype
    assert evaluate(expression, ROW) == value


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("foo > 1", "no column 'foo'", "columns are: a, amount, b, c, n, ok, seen, status, ts, zero"),
        ("n + status", "INT and STRING do not go together", "same type"),
        ("status * 2", "do not go together", "same type"),
        ("ok + ok", "add needs numbers, not BOOL", "INT or FLOAT"),
        ("status AND ok", "STRING, BOOL is needed", "type BOOL"),
        ("n::text", "there are no casts", "TIMESTAMP"),
        ("TIMESTAMP '2026-01-01T00:00:00'", "no time zone", "offset"),
        ("rand()", "the language does not have", "use columns"),
        ("sum(n)", "the language does not have", "use columns"),
        ("hash_bucket(n, 8)", "'n' is INT, STRING is needed", "type STRING"),
        ("hash_bucket(status)", "hash_bucket does not take 1 argument", "hash_bucket(text, 1000)"),
        ("hour_of_day(n)", "'n' is INT, TIMESTAMP is needed", "type TIMESTAMP"),
        ("ordinal(status, 'a', 'a')", "has a value twice", "once"),
        ("ordinal(status, 1)", "do not go together", "same type"),
        ("ordinal(status, lower('A'))", "is not a literal", "write the value itself"),
        ("bucketize(amount, 2, 1)", "do not ascend", "bucketize(x, 1, 5, 10)"),
        ("bucketize(amount, 'a')", "do not ascend", "bucketize(x, 1, 5, 10)"),
        ("bucketize(status, 1)", "'status' is STRING, a number is needed", "INT or FLOAT"),
        ("dot(a, c)", "EMBEDDING(2) and EMBEDDING(3) do not go together", "one size"),
        ("norm(n)", "'n' is INT, a vector is needed", "EMBEDDING"),
        ("hash_bucket(status, n)", "is not an INT literal", "hash_bucket(text, 1000)"),
        ("hash_bucket(status, 1.5)", "is not an INT literal", "hash_bucket(text, 1000)"),
        ("hash_bucket(status, TRUE)", "is not an INT literal", "hash_bucket(text, 1000)"),
        ("hash_bucket(status, 0)", "0 is not a number of buckets", "1 or more"),
        ("hash_bucket(status, -1)", "-1 is not a number of buckets", "1 or more"),
        ("fold(n, 8)", "the language does not have", "trim, bucketize, cosine, days_between, dot"),
        ("n >", "is not a SQL expression", "syntax"),
        ("9223372036854775808", "does not fit 64 bits", "FLOAT"),
        ("n IN (SELECT 1)", "IN takes a list", "x IN (1, 2)"),
        ("CASE n WHEN 1 THEN 2 END", "CASE takes conditions", "CASE WHEN"),
    ],
)
def test_refusals_teach(text: str, message: str, remedy: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_expression(text, SCHEMA)
    assert message in str(caught.value)
    assert remedy in caught.value.remedy


def test_a_condition_is_bool() -> None:
    with pytest.raises(ExpressionError, match="is INT, not a condition"):
        parse_condition("n + 1", SCHEMA)


def test_the_canonical_form_ignores_spelling() -> None:
    spelt = parse_expression("(n>0)   and STATUS_ = 'a'".replace("STATUS_", "status"), SCHEMA)
    assert str(spelt) == str(parse_expression("n > 0 AND (status = 'a')", SCHEMA))


def test_int_overflow_is_an_error() -> None:
    with pytest.raises(IntOverflowError):
        evaluate(parse_expression("n * 9223372036854775807", SCHEMA), ROW)
