"""On-demand features are values: equal, in JSON and back, and what cannot be imported by others is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

import feature_store
from feature_store import BOOL, FLOAT, INT, STRING, TIMESTAMP, FeatureView, OnDemand
from feature_store.dsl.on_demand import code_of
from feature_store.errors import DefinitionError
from tests.unit import on_demand_functions as functions
from tests.unit.on_demand_cases import HOME, PRICE, SINCE, view


def through_json(feature: OnDemand) -> OnDemand:
    return OnDemand.from_json(json.loads(json.dumps(feature.to_json())))


@pytest.mark.parametrize(
    "feature",
    [
        PRICE,
        SINCE,
        OnDemand("a", "b", dtype=TIMESTAMP, default=datetime(2026, 1, 1, 12, 0, 0, 1, tzinfo=UTC)),
        OnDemand("a", "b", dtype=BOOL, default=False, description="é"),
        OnDemand("a", function=functions.ratio, dtype=FLOAT),
        OnDemand("a", function=functions.Namespace.doubled, dtype=FLOAT, default=1),
        OnDemand("a", function="some.module:name", dtype=INT),
    ],
)
def test_it_survives_json(feature: OnDemand) -> None:
    assert through_json(feature) == feature
    assert through_json(feature).default == feature.default


def test_a_view_survives_json() -> None:
    ranking = view(PRICE, SINCE, HOME, OnDemand("third", function=functions.third, dtype=FLOAT))
    copy = FeatureView.from_json(json.loads(json.dumps(ranking.to_json())))
    assert copy == ranking
    assert list(copy.request.items()) == [("price", FLOAT), ("country", STRING)]
    assert copy != view(PRICE, SINCE, HOME)


def test_a_view_without_on_demand_features_has_the_json_it_had() -> None:
    assert set(view(request={}).to_json()) == {"name", "groups", "owner"}


def test_a_function_is_kept_by_its_name_and_by_what_it_says() -> None:
    feature = OnDemand("a", function=functions.ratio, dtype=FLOAT)
    assert feature.function == "tests.unit.on_demand_functions:ratio"
    assert feature.code == code_of(functions.ratio) != code_of(functions.third)
    nested = OnDemand("a", function=functions.Namespace.doubled, dtype=FLOAT)
    assert nested.function == "tests.unit.on_demand_functions:Namespace.doubled"


def test_what_a_function_says_does_not_depend_on_layout_and_docs(tmp_path: Any) -> None:
    spellings = [
        'def f(columns):\n    """Doubled."""\n    return columns["a"] * 2\n',
        "def f(columns):  # doubled\n\n    return (columns['a']\n        * 2)\n",
        "def f(columns):\n    return columns['a'] * 3\n",
    ]
    codes = []
    for i, text in enumerate(spellings):
        path = tmp_path / f"spelling_{i}.py"
        path.write_text(text)
        found: dict[str, Any] = {}
        exec(compile(text, str(path), "exec"), found)
        codes.append(code_of(found["f"]))
    assert codes[0] == codes[1] != codes[2]
    assert code_of(len) == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give either an expression or function="),
        ({"expression": "a", "function": "x:y"}, "give either an expression or function="),
        ({"function": lambda columns: columns["a"]}, "has no name to import it by: write def"),
        ({"function": 5}, "function"),
        ({"expression": "a", "dtype": "INTEGER"}, "'INTEGER' is not a type"),
    ],
)
def test_refusals(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError, match=message) as caught:
        OnDemand("a", **{"dtype": INT, **arguments})
    assert "test_on_demand.py:" in caught.value.where


def test_a_nested_function_and_a_script_s_own_are_refused() -> None:
    def nested(columns: Any) -> Any:
        return columns["a"]

    with pytest.raises(DefinitionError, match="nested' has no name to import it by"):
        OnDemand("a", function=nested, dtype=INT)
    nested.__module__, nested.__qualname__ = "__main__", "own"
    with pytest.raises(DefinitionError, match=r"'own' belongs to a script.*move it to a module"):
        OnDemand("a", function=nested, dtype=INT)


def test_it_is_a_public_name() -> None:
    assert feature_store.OnDemand is OnDemand
    assert "OnDemand" in feature_store.__all__
