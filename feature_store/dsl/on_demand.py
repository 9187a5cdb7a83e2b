"""On-demand features: computed when a vector is read, from stored features and what the caller gives."""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Callable
from dataclasses import KW_ONLY
from textwrap import dedent
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs

from feature_store.dsl.definition import STRICT, Definition
from feature_store.dsl.dtype_field import DTypeField
from feature_store.dtypes import Value, read_value


def named_function(function: Any) -> Any:
    """A module-level function as "module:name", by which any process can import it; a text as it is.

    Raises:
        ValueError: for what another process could not import: a lambda, a nested function, a script's own.
    """
    if not callable(function):
        return function
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if not name or not module or "<" in name:
        raise ValueError(f"{name or function!r} has no name to import it by: write def f(columns): … in a module")
    if module == "__main__":
        raise ValueError(f"{name!r} belongs to a script, which no other process can import: move it to a module")
    return f"{module}:{name}"


def code_of(function: Callable[..., Any]) -> str:
    """16 hex digits of what a function says, apart from layout, comments and its docstring; "" without source."""
    try:
        tree = ast.parse(dedent(inspect.getsource(function))).body[0]
    except (OSError, TypeError, SyntaxError):
        return ""
    if isinstance(tree, ast.FunctionDef) and ast.get_docstring(tree) is not None:
        tree.body = tree.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:16]


FunctionField = Annotated[
    Callable[..., Any] | str | None, BeforeValidator(named_function), PlainSerializer(lambda name: name)
]


@dataclass(frozen=True, eq=False, config=STRICT)
class OnDemand(Definition):
    """A feature of a view that is computed when it is read: online for each request, in training for each label.

    Its inputs are what a model sees, defaults filled in: the view's stored features, its keys, its request values, the
    on-demand features declared before it, and `request_time`, which is the instant of the request, or the label's.

    Args:
        name: snake_case name, unlike that of any other column of the view.
        expression: SQL over the inputs, in the language of all definitions.
        function: instead of an expression, a module-level function that takes a mapping of the inputs' names to Polars
            expressions and returns a Polars expression; it is kept as "module:name". It must look at one row at a time.
        dtype: type of the value: STRING, INT, FLOAT, BOOL or TIMESTAMP.
        default: what NULL becomes.
        code: of a function, what its source said at the declaration; left out, it is filled in. A function that says
            something else when it is imported is refused.

    Example:
        >>> OnDemand("user_time_since_last_purchase", "request_time - user_last_purchase_at", dtype=INT)
    """

    name: str
    expression: str | None = None
    _: KW_ONLY
    function: FunctionField = None
    dtype: DTypeField
    default: Value = None
    description: str = ""
    code: str = ""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, data: Any) -> Any:
        """Reads the default back from JSON, and notes what a function says."""
        if isinstance(data, ArgsKwargs):
            return ArgsKwargs(data.args, _with_code(data.kwargs or {}))
        if not isinstance(data, dict):
            return data
        if "default" in data and isinstance(data.get("dtype"), str):
            data = {**data, "default": read_value(data["dtype"], data["default"])}
        return _with_code(data)

    def _check(self) -> None:
        if (self.expression is None) == (self.function is None):
            raise ValueError("give either an expression or function=")


def _with_code(given: dict[str, Any]) -> dict[str, Any]:
    if not callable(given.get("function")) or given.get("code"):
        return given
    return {**given, "code": code_of(given["function"])}
