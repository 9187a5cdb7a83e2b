"""The Flink SQL of jobs, as files to review. `UPDATE_GOLDEN=1 ./fs test …` writes them anew."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from feature_store.compile.flink import FlinkJob, Start, Target, group_job, log_job
from feature_store.dsl.collect import load_project
from feature_store.plan.build import build_plan

GOLDEN = Path(__file__).parent / "golden"
TARGET = Target({"bootstrap.servers": "kafka:9092"}, "/kernel.jar", {"warehouse": "file:///warehouse"})
PLAN = build_plan(load_project("feature_defs").group("user_interactions@1"))
START = Start({0: 17, 1: 4}, snapshot=42, after=1_000_000, cut=86_400_000_000)


def _log() -> FlinkJob:
    assert PLAN.stream is not None
    return log_job(PLAN.stream, TARGET, Start())


CASES: dict[str, Callable[[], FlinkJob]] = {
    "shop_user_interactions": lambda: group_job(PLAN, TARGET, Start()),
    "shop_user_interactions_from_history": lambda: group_job(PLAN, TARGET, START),
    "shop_interactions_log": _log,
}


@pytest.mark.parametrize("name", CASES)
def test_the_job_is_the_reviewed_one(name: str) -> None:
    job = CASES[name]()
    steps = [f"-- view {step.view}\n{step.sql}" if step.view else step.sql for step in job.steps]
    text = "\n\n".join([f"-- job {job.name}", *steps, *job.inserts]) + "\n"
    path = GOLDEN / f"{name}.flinksql"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text(), f"the SQL of {name} changed: review it, then write it with UPDATE_GOLDEN=1"


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.glob("*.flinksql")} == set(CASES)


@pytest.mark.parametrize(("given", "used"), [("/k.jar", "file:///k.jar"), ("s3://bucket/k.jar", "s3://bucket/k.jar")])
def test_the_kernel_may_lie_anywhere(given: str, used: str) -> None:
    job = group_job(PLAN, replace(TARGET, kernel_jar=given), Start())
    functions = [step.sql for step in job.steps if step.sql.startswith("CREATE TEMPORARY FUNCTION")]
    assert functions
    assert all(sql.endswith(f"USING JAR '{used}'") for sql in functions)
