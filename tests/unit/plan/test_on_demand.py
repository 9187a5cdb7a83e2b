"""On-demand features of a view: what is planned how, what each mistake is told, and where values come from."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from feature_store import BOOL, EMBEDDING, FLOAT, INT, LIST, STRING, TIMESTAMP, FeatureView, OnDemand
from feature_store.dsl.collect import Project
from feature_store.errors import DefinitionErrors
from feature_store.plan.build import build_plan, view_schema
from feature_store.plan.on_demand import on_demand_lineage
from feature_store.plan.project import compile_project
from tests.unit import on_demand_functions as functions
from tests.unit.on_demand_cases import HOME, PRICE, SINCE, USER_ORDERS, view

PACKAGES = ("tests",)


def refusals(ranking: FeatureView) -> list[tuple[str, str]]:
    """Code and text of each error, which both ways to plan a view agree on."""
    with pytest.raises(DefinitionErrors) as caught:
        view_schema(ranking, PACKAGES)
    with pytest.raises(DefinitionErrors) as of_project:
        compile_project(Project((USER_ORDERS,), (ranking,), {}, packages=PACKAGES))
    assert str(of_project.value) == str(caught.value)
    return [(error.code, str(error)) for error in caught.value.errors]


def test_a_view_with_on_demand_features() -> None:
    schema = view_schema(view(PRICE, SINCE, HOME))
    assert [(column.name, column.dtype, column.default) for column in schema.on_demand] == [
        ("price_ratio", FLOAT, 1.0),
        ("user_time_since_last", INT, None),
        ("is_home", BOOL, None),
    ]
    assert [column.inputs for column in schema.on_demand] == [
        ("price", "user_value_mean_30d"),
        ("request_time", "user_last_at_all_time"),
        ("country", "user_order_count_30d"),
    ]
    assert [(column.name, column.dtype) for column in schema.request] == [("price", FLOAT), ("country", STRING)]
    assert [column.name for column in schema.outputs] == [
        *(feature.name for feature in build_plan(USER_ORDERS).schema.features),
        "price_ratio",
        "user_time_since_last",
        "is_home",
    ]
    assert compile_project(Project((USER_ORDERS,), (view(PRICE, SINCE, HOME),), {})).views["ranking@1"] == schema


def test_a_view_without_them_is_as_before() -> None:
    schema = view_schema(view(request={}))
    assert schema.outputs == schema.features
    assert schema.on_demand == schema.request == ()


@pytest.mark.parametrize(
    ("feature", "code", "text"),
    [
        (
            ("x", "prize * 2", FLOAT),
            "unknown-column",
            "no column 'prize' -> did you mean 'price'? columns are: country, is_home, price, pri",
        ),
        (("x", "price *", FLOAT), "syntax", "is not a SQL expression"),
        (("x", "price * 2", INT), "type", "it gives FLOAT, dtype says INT -> declare dtype=FLOAT"),
        (("x", "NULL", INT), "type", "it gives NULL, dtype says INT"),
        (("x", "user_categories_30d", LIST(STRING)), "type", "it cannot be LIST(STRING)"),
        (
            ("x", "user_categories_30d = user_categories_30d", BOOL),
            "unsupported-operation",
            "lists are compared -> compare scalars",
        ),
        (("x", "later * 2", FLOAT), "unknown-column", "no column 'later'"),
        (("user_order_count_30d", "price", FLOAT), "duplicate-name", "is that of a feature of user_orders@1"),
        (("user_id", "price", FLOAT), "duplicate-name", "is that of a key of the view"),
        (("price", "price", FLOAT), "duplicate-name", "is that of a request value"),
        (("is_home", "price", FLOAT), "duplicate-name", "is that of an on-demand feature"),
        (("label_timestamp", "price", FLOAT), "reserved-name", "'label_timestamp' is a reserved name"),
        (("request_time", "price", FLOAT), "reserved-name", "'request_time' is a reserved name"),
        (("x", "now() - user_last_at", INT), "clock", "NOW() reads the clock"),
        (("x", "x + 1", INT), "cycle", "x reads x: none of them can be computed first"),
        (("x", "country + 1", INT), "expression-type", "INT and STRING do not go together"),
        (("Price Ratio", "price", FLOAT), "name", "is not snake_case"),
    ],
)
def test_refusals_name_place_and_remedy(feature: tuple[str, str, Any], code: str, text: str) -> None:
    name, expression, dtype = feature
    later = OnDemand("later", "price", dtype=FLOAT)
    ((found, message),) = refusals(view(PRICE, HOME, OnDemand(name, expression, dtype=dtype), later))
    assert found == code
    assert text in message
    assert f"view ranking@1, on-demand feature {name}: " in message
    assert "test_on_demand.py:" in message
    assert " -> " in message
    if expression.startswith("later"):
        assert "declare later before it" in message


@pytest.mark.parametrize("default", ["1", 1.5, True, [1]])
def test_a_default_is_of_the_declared_type(default: Any) -> None:
    ((code, message),) = refusals(view(PRICE, HOME, OnDemand("x", "user_order_count_30d", dtype=INT, default=default)))
    assert code == "default"
    assert f"{default!r} is not a value of INT -> give a default of type INT, or none" in message


@pytest.mark.parametrize(
    ("values", "code", "text"),
    [
        ({"user_id": STRING}, "duplicate-name", "'user_id' is that of a key of the view"),
        ({"user_order_count_30d": INT}, "duplicate-name", "is that of a feature of user_orders@1"),
        ({"request_time": TIMESTAMP}, "reserved-name", "'request_time' is a reserved name"),
        ({"Price": FLOAT}, "name", "'Price' is not snake_case"),
        ({"vector": EMBEDDING(3)}, "type", "a request value cannot be EMBEDDING(3)"),
        ({"unread": INT}, "unused-request", "no on-demand feature reads it -> remove it"),
    ],
)
def test_refused_request_values(values: dict[str, Any], code: str, text: str) -> None:
    given = {"price": FLOAT, "country": STRING, **values}
    ((found, message),) = refusals(view(PRICE, HOME, request=given))
    assert found == code
    assert text in message
    assert f"request value {next(iter(values))}" in message


def test_all_mistakes_are_told_at_once() -> None:
    found = refusals(view(OnDemand("a", "b", dtype=INT), OnDemand("a", "price", dtype=INT, default="x")))
    assert [code for code, _ in found] == ["unknown-column", "duplicate-name", "default", "type"]


def test_lineage_goes_through_on_demand_features_to_stored_ones() -> None:
    schema = view_schema(
        view(
            PRICE,
            HOME,
            OnDemand("x", "CASE WHEN is_home THEN price_ratio ELSE price END", dtype=FLOAT),
            OnDemand("y", "length(country)", dtype=INT),
        )
    )
    lineage = on_demand_lineage(schema)
    assert lineage["price_ratio"] == (("user_orders@1", "user_value_mean_30d"),)
    assert lineage["x"] == (("user_orders@1", "user_order_count_30d"), ("user_orders@1", "user_value_mean_30d"))
    assert lineage["y"] == ()


@pytest.mark.parametrize(
    ("function", "dtype", "inputs"),
    [
        (functions.ratio, FLOAT, ("price", "user_value_mean_30d")),
        (functions.third, FLOAT, ("price",)),
        (functions.hour, INT, ("request_time",)),
        (functions.name_length, INT, ("country",)),
        (functions.local_time, TIMESTAMP, ("request_time",)),
        (functions.as_number, INT, ("country",)),
    ],
)
def test_functions_find_their_inputs(function: Any, dtype: Any, inputs: tuple[str, ...]) -> None:
    schema = view_schema(view(PRICE, HOME, OnDemand("x", function=function, dtype=dtype)), PACKAGES)
    assert schema.on_demand[-1].inputs == inputs
    assert schema.on_demand[-1].function == f"tests.unit.on_demand_functions:{function.__name__}"


@pytest.mark.parametrize(
    ("function", "dtype", "code", "text"),
    [
        (functions.ratio, INT, "type", "it gives Float64, dtype says INT -> end it with .cast(pl.Int64)"),
        (functions.hour, FLOAT, "type", "it gives Int8, dtype says FLOAT"),
        (functions.since, INT, "type", "it gives Duration(time_unit='us'), dtype says INT"),
        (functions.naive_time, TIMESTAMP, "type", "Datetime(time_unit='us', time_zone=None), dtype says TIMESTAMP"),
        (
            functions.unknown,
            FLOAT,
            "unknown-column",
            "it reads a column 'nothing' that is not there -> columns are: cou",
        ),
        (functions.smuggled, FLOAT, "unknown-column", "it reads a column 'feature_timestamp' that is not there"),
        (functions.every, FLOAT, "function", "it returns several columns"),
        (functions.number, INT, "function", "it returns a int, not a Polars expression"),
        (functions.broken, FLOAT, "function", "it fails: RuntimeError: not today"),
        (functions.mistyped, FLOAT, "function", "it is no expression over these types"),
        (functions.share_of_all, FLOAT, "function", "depends on the other rows"),
        (functions.previous, STRING, "function", "depends on the other rows"),
        ("tests.unit.on_demand_functions:nothing", INT, "function", "cannot be imported: AttributeError"),
        ("tests.no_such_module:f", INT, "function", "cannot be imported: ModuleNotFoundError"),
        ("tests.unit.no_colon", INT, "function", "cannot be imported"),
        ("tests.unit.on_demand_functions:NOT_A_FUNCTION", INT, "function", "is a int, not a function"),
    ],
)
def test_functions_that_cannot_be_features(function: Any, dtype: Any, code: str, text: str) -> None:
    ((found, message),) = refusals(view(PRICE, HOME, OnDemand("x", function=function, dtype=dtype)))
    assert found == code
    assert text in message
    assert "on-demand feature x" in message


def test_a_function_that_was_changed_since_is_refused() -> None:
    recorded = OnDemand("x", function=functions.ratio, dtype=FLOAT).to_json() | {"code": "0123456789abcdef"}
    ((code, message),) = refusals(view(PRICE, HOME, OnDemand.from_json(recorded)))
    assert code == "function-changed"
    assert "on_demand_functions:ratio says something else than when it was declared" in message
    assert "keep the function as it was" in message


@pytest.mark.parametrize(
    "function",
    [
        "this:d",
        "os:getcwd",
        "tests_of_another:f",
        "testsx.unit:f",
        ":f",
        "tests.unit.on_demand_functions:pl.len",  # of a package of definitions, but written elsewhere
        "tests.unit.on_demand_functions:ratio.__class__",
    ],
)
def test_functions_of_other_packages_are_not_even_imported(function: str) -> None:
    sys.modules.pop("this", None)
    ((code, message),) = refusals(view(PRICE, HOME, OnDemand("x", function=function, dtype=INT)))
    assert code == "function-package"
    assert f"{function} is not written in tests -> write the function in a module there" in message
    assert "this" not in sys.modules


def test_definitions_may_name_functions_of_the_package_they_were_loaded_from() -> None:
    ranking = view(PRICE, HOME, OnDemand("x", function=functions.ratio, dtype=FLOAT))
    assert view_schema(ranking, ("tests.unit.on_demand_functions",)) == view_schema(ranking, ("other", "tests.unit"))
    with pytest.raises(DefinitionErrors, match=r"ratio is not written in feature_defs"):
        view_schema(ranking)
