"""Every error code that is raised is explained, and every example causes the very error it is an example of."""

from __future__ import annotations

import ast
import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from feature_store import errors
from feature_store.cli import main
from feature_store.dsl.collect import load_project
from feature_store.errors import DefinitionErrors, FeatureStoreError
from feature_store.explanations.catalogue import AREAS
from feature_store.explanations.explanation import Explanation
from feature_store.explanations.render import render_areas, render_explanation
from feature_store.plan.project import compile_project

ROOT = Path(__file__).parents[2]
ERRORS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, FeatureStoreError)}
CHECKS = {"evolve_table", "known_word", "whole_number", "memory_size", "_seconds_in", "_milliseconds_in", "_rows"}
"""Functions that raise with the code that they are given."""
REFUSALS = {"Problem", "refuse", "_refuse", "RefusedError", "ExpressionError", "QueryError", "OnDemandError"}
PASSED_ON = {"code", "error.code", "problem.code", "self.code", "record.code"}
EXPLAINED = {explanation.code: explanation for area in AREAS.values() for explanation in area}


def raised(names: set[str]) -> Iterator[tuple[str, ast.expr]]:
    """The places where one of these is called, and the code that it is given: code=, or the first argument."""
    for package in ("feature_store", "serving", "feature_assets", "resources", "sensors", "demo", "benchmarks"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in names:
                    keyword = next((k.value for k in node.keywords if k.arg == "code"), None)
                    code = keyword if keyword is not None else node.args[0]
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", code


def codes(names: set[str]) -> set[str]:
    found = set()
    for place, code in raised(names):
        if isinstance(code, ast.Constant):
            assert isinstance(code.value, str), place
            found.add(code.value)
        else:
            assert ast.unparse(code) in PASSED_ON, f"{place}: the code is not a literal"
    return found


def test_every_code_that_is_raised_is_explained_and_every_explained_one_is_raised() -> None:
    assert codes(REFUSALS | CHECKS | ERRORS - {"DefinitionErrors"}) == EXPLAINED.keys()
    assert len(EXPLAINED) == sum(len(area) for area in AREAS.values())


def test_every_refusal_of_a_definition_has_an_example() -> None:
    assert codes(REFUSALS) | {"chain", "import", "successor", "wrong-argument"} == {
        e.code for e in EXPLAINED.values() if e.example
    }


SETTING = """\
from feature_store import (
    FLOAT, INT, STRING, TIMESTAMP, BatchSource, Deprecated, Entity, Feature, FeatureGroup, FeatureView, OnDemand,
    StreamSource, agg)

user = Entity("user", join_key="user_id")
orders = BatchSource("orders", table="raw.orders", event_timestamp="ts", schema={
    "user_id": STRING, "status": STRING, "amount": FLOAT, "ts": TIMESTAMP})
order_count = Feature("user_order_count_30d", agg.count(), window="30d", dtype=INT)
click_count = Feature("user_click_count_30m", agg.count(), window="30m", dtype=INT)
"""


@pytest.mark.parametrize("explanation", [e for e in EXPLAINED.values() if e.example], ids=lambda e: e.code)
def test_each_example_causes_its_error_at_its_line(
    explanation: Explanation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = f"example_{explanation.code.replace('-', '_')}"
    folder = tmp_path / package
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    text = SETTING + explanation.example.replace("\nFeatureGroup(", "\nexample = FeatureGroup(")
    text = text.replace(f"{SETTING}FeatureGroup(", f"{SETTING}example = FeatureGroup(")
    (folder / "shop.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        with pytest.raises(DefinitionErrors) as caught:
            compile_project(load_project(package))
    finally:
        for name in [name for name in sys.modules if name.startswith(package)]:
            del sys.modules[name]
    (error,) = caught.value.errors
    (line,) = [number for number, line in enumerate(text.splitlines(), 1) if line.endswith("# <-")]
    assert error.code == explanation.code, error
    assert error.where.startswith(f"{folder / 'shop.py'}:{line}")
    assert error.remedy
    assert str(error).endswith(f"[{explanation.code}]")


def shown(explanation: Explanation | None) -> list[str]:
    console = Console(file=io.StringIO(), width=80)
    console.print(render_areas() if explanation is None else render_explanation(explanation))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_explanations_read_well_at_80_columns() -> None:
    listed = shown(None)
    for code, explanation in EXPLAINED.items():
        assert any(line.split()[:1] == [code] for line in listed), code
        lines = shown(explanation)
        assert lines[0].startswith(f"{code}: ")
        for line in explanation.example.splitlines():
            assert f"    {line}".rstrip() in lines, f"{code}: broken up: {line}"
        assert explanation.title[0].isupper()
        assert not explanation.title.endswith(".")
        assert explanation.cause.endswith(".")
        assert explanation.remedy.endswith((".", '"'))
    assert max(map(len, listed)) <= 80


def test_the_command_explains_lists_and_suggests() -> None:
    one = CliRunner().invoke(main, ["errors", "feature-name"])
    assert one.exit_code == 0
    assert "{entity}_{what}_{aggregation}_{window}" in one.stdout
    assert max(len(line.rstrip()) for line in one.stdout.splitlines()) <= 80
    assert CliRunner().invoke(main, ["errors", "[ttl]"]).stdout.startswith("ttl: ")
    assert "Definitions: feature groups\n" in CliRunner().invoke(main, ["errors"]).stdout
    unknown = CliRunner().invoke(main, ["errors", "featur-name"])
    assert unknown.exit_code == 1
    assert "there is no error code 'featur-name' -> did you mean feature-name" in unknown.stderr
