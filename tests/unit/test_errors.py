"""Errors as texts and as values that cross from one process to another."""

from __future__ import annotations

import pickle

import pytest

from feature_store.errors import DefinitionError, DefinitionErrors, StackError, choices


def test_an_error_says_where_what_remedy_and_code() -> None:
    assert str(StackError("it is down", where="Redis", remedy="start it", code="redis-down")) == (
        "Redis: it is down -> start it [redis-down]"
    )
    assert str(StackError("it is down", code="redis-down")) == "it is down [redis-down]"
    one, two = (DefinitionError(f"{word} is wrong", code=word) for word in ("a", "b"))
    assert str(DefinitionErrors([one, two])) == "2 problems in the definitions:\n  a is wrong [a]\n  b is wrong [b]"


def test_errors_survive_pickling() -> None:
    error = pickle.loads(pickle.dumps(StackError("it is down", where="Redis", remedy="start it", code="redis-down")))
    assert (type(error), str(error), error.code) == (
        StackError,
        "Redis: it is down -> start it [redis-down]",
        "redis-down",
    )
    many = pickle.loads(pickle.dumps(DefinitionErrors([DefinitionError("wrong", code="a")])))
    assert [found.code for found in many.errors] == ["a"]


@pytest.mark.parametrize(
    ("wanted", "known", "remedy"),
    [
        ("amuont", ["fee", "amount"], "did you mean 'amount'? columns are: amount, fee"),
        ("x", ["fee", "amount"], "columns are: amount, fee"),
        ("x", [], "columns are: none"),
    ],
)
def test_a_wrong_name_comes_with_the_right_ones(wanted: str, known: list[str], remedy: str) -> None:
    assert choices(wanted, known) == remedy
