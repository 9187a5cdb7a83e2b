"""The one line of a Java stack trace that says why."""

from __future__ import annotations

import pytest

from feature_store.streaming.failures import root_cause

TRACE = """org.apache.flink.util.FlinkException: the task failed
\tat org.apache.flink.Task.run(Task.java:1)
Caused by: java.io.IOException: in between
\tat x.Y.z(Y.java:2)
Caused by: org.apache.iceberg.exceptions.NoSuchTableException: Table does not exist: features.a_v1
\tat x.Y.z(Y.java:3)
\t... 9 more
"""


@pytest.mark.parametrize(
    ("trace", "cause"),
    [
        (TRACE, "org.apache.iceberg.exceptions.NoSuchTableException: Table does not exist: features.a_v1"),
        ("java.lang.Exception: alone\n\tat x.Y.z(Y.java:2)", "java.lang.Exception: alone"),
        ("", ""),
        ("Traceback:\n  File x\nValueError: no such column\n", "ValueError: no such column"),
        ("x" * 1000, "x" * 400),
    ],
)
def test_the_innermost_cause_is_told(trace: str, cause: str) -> None:
    assert root_cause(trace) == cause
