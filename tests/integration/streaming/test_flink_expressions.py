"""Expressions in Flink SQL give what the plain Python reference gives: random ones of the whole language."""

from __future__ import annotations

import json
import math
import os
import subprocess
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from feature_store.compile.flink_expressions import FUNCTIONS, flink_sql, flink_type
from feature_store.compile.reference_expressions import evaluate_or
from feature_store.dtypes import BOOL, FLOAT, to_micros
from feature_store.plan.expression_nodes import Expression, finite
from feature_store.plan.expressions import parse_expression
from feature_store.plan.overflow import null_on_overflow, overflow_of
from feature_store.settings import Settings
from tests.integration.compared import COMPARED
from tests.unit.compile.test_polars_expressions import INT_MAX, INT_MIN, ROWS, SCHEMA, texts

EXPRESSIONS, ROW_COUNT = 120, 12
FIXED = ["1.0 / 2.0", "x > 1.0 / (2.0 + 3.0)", "x / (y / 4.0)", "1.0 / 0.0", "coalesce(j, i - i, -i)",
         "coalesce(FALSE AND b, x < y, b)", "CASE WHEN i > 0 OR j > 0 THEN 1 ELSE -i END",
         "i + j", "i - j", "i * j", "-i", "abs(i)", "i + j > 0 AND b", "coalesce(i * j, 0)",
         "CASE WHEN b THEN 0 ELSE i * 2 END"]  # fmt: skip
"""Where Flink's planner fails, having folded a constant, or its evaluation, not being lazy; and what can overflow."""
GREAT = [{"i": INT_MAX, "j": 2}, {"i": INT_MIN, "j": -1}, {"i": INT_MIN, "j": 1}]
"""INTs whose sums and products leave 64 bits."""

_NEVER = Expression("literal", BOOL, value=False)
_LOST = object()

RUNNER = """\
import json, sys
from pyflink.table import EnvironmentSettings, TableEnvironment
spec = json.load(sys.stdin)
tables = TableEnvironment.create(EnvironmentSettings.in_batch_mode())
tables.get_config().set("parallelism.default", "1")
for statement in spec["functions"]:
    tables.execute_sql(statement)
tables.execute_sql(spec["table"])
for query in spec["queries"]:
    try:
        with tables.execute_sql(query).collect() as rows:
            print(json.dumps([list(row) for row in rows]))
    except Exception as error:
        print(json.dumps(str(error)))
"""


def _cases() -> tuple[list[Expression], list[dict[str, Any]]]:
    """The fixed expressions, random ones, and rows."""
    rows: list[dict[str, Any]] = []
    expressions: list[Expression] = []

    @settings(max_examples=ROW_COUNT, database=None, phases=[Phase.generate], derandomize=True)
    @given(ROWS)
    def draw_row(row: dict[str, Any]) -> None:
        rows.append({name: _clean(value) for name, value in row.items()})

    @settings(
        max_examples=4 * EXPRESSIONS,
        database=None,
        phases=[Phase.generate],
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(["INT", "FLOAT", "STRING", "BOOL", "TIMESTAMP"]).flatmap(lambda kind: texts(kind, 3)))
    def draw_expression(text: str) -> None:
        add(text)

    def add(text: str) -> None:
        expression = finite(parse_expression(text, SCHEMA))
        if expression.dtype.kind == "NULL" or len(expressions) == EXPRESSIONS:
            return
        expressions.append(expression)

    draw_row()
    rows += [dict.fromkeys(SCHEMA) | great for great in GREAT]
    for text in FIXED:
        add(text)
    draw_expression()
    return expressions, rows


def _clean(value: Any) -> Any:
    """As the parser gives it: a FLOAT that is not finite is NULL, and there is one zero."""
    if isinstance(value, float):
        return value + 0.0 if math.isfinite(value) else None
    return value


def test_flink_evaluates_as_the_reference(streaming_stack: Settings, tmp_path: Path) -> None:
    """Also where INT arithmetic leaves 64 bits, in the same process, which takes seconds to start."""
    expressions, rows = _cases()
    assert len(expressions) > 60
    overflows = [overflow_of(expression) for expression in expressions]
    wanted = [f"{flink_sql(null_on_overflow(expression))} AS e{i}" for i, expression in enumerate(expressions)]
    chunks = [range(start, min(start + 30, len(wanted))) for start in range(0, len(wanted), 30)]
    queries = [f"SELECT _n, {', '.join(wanted[i] for i in chunk)} FROM given" for chunk in chunks]
    conditions = [flink_sql(overflow or _NEVER) for overflow in overflows]
    queries += [f"SELECT _n, {', '.join(conditions[i] for i in chunk)} FROM given" for chunk in chunks]
    found = _run(streaming_stack, tmp_path / "rows.json", rows, queries)
    for chunk, answers in zip(chunks, found[: len(chunks)], strict=True):
        assert len(answers) == len(rows), answers
        for number, *values in answers:
            for i, value in zip(chunk, values, strict=True):
                expected = _wire(evaluate_or(None, expressions[i], rows[number]))
                assert _same(expressions[i], expected, value), (str(expressions[i]), rows[number], expected, value)
    COMPARED["expressions in Flink SQL"] += len(expressions)
    lost = 0
    for chunk, answers in zip(chunks, found[len(chunks) :], strict=True):
        assert len(answers) == len(rows), answers
        for number, *flags in answers:
            expected_flags = [evaluate_or(_LOST, expressions[i], rows[number]) is _LOST for i in chunk]
            assert flags == expected_flags, [str(expressions[i]) for i in chunk]
            lost += sum(flags)
    assert lost > 15


def _run(stack: Settings, path: Path, rows: list[dict[str, Any]], queries: list[str]) -> list[Any]:
    """What each query over the rows answers, a list of rows or the name of an error; Flink is a process of its own."""
    given = [{name: _wire(value) for name, value in row.items()} | {"_n": i} for i, row in enumerate(rows)]
    path.write_text("\n".join(map(json.dumps, given)))
    columns = ", ".join(f"`{name}` {flink_type(dtype)}" for name, dtype in SCHEMA.items())
    spec = {
        "functions": [
            f"CREATE TEMPORARY FUNCTION {name} AS 'featurestore.{java}' USING JAR 'file://{stack.kernel_jar}'"
            for name, java in FUNCTIONS.items()
        ],
        "table": f"CREATE TEMPORARY TABLE given (_n INT, {columns}) WITH "
        f"('connector' = 'filesystem', 'path' = 'file://{path}', 'format' = 'json')",
        "queries": queries,
    }
    java = stack.java_home / "bin"
    environment = {
        **os.environ,
        "JAVA_HOME": str(stack.java_home),
        "FLINK_HOME": str(stack.flink_home),
        "FLINK_LIB_DIR": str(stack.flink_home / "lib"),
        "FLINK_CONF_DIR": str(stack.flink_home / "conf"),
        "PATH": f"{stack.flink_python.parent}:{java}:{os.environ['PATH']}",
        "PYTHONPATH": "",
    }
    done = subprocess.run(
        [str(stack.flink_python), "-c", RUNNER],
        input=json.dumps(spec),
        text=True,
        capture_output=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith(("[", '"'))]


def _wire(value: Any) -> Any:
    return to_micros(value) if hasattr(value, "tzinfo") else value


def _same(expression: Expression, expected: Any, found: Any) -> bool:
    if expression.dtype == FLOAT and expected is not None and found is not None:
        return math.isclose(expected, found, rel_tol=1e-12, abs_tol=0.0) and math.copysign(
            1, expected
        ) == math.copysign(1, found)
    return type(expected) is type(found) and bool(expected == found)
