"""On-demand features that are functions: imported, called once for their Polars expression, and tried out."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from feature_store.dsl.on_demand import code_of
from feature_store.dtypes import EPOCH, DType
from feature_store.errors import choices
from feature_store.plan.polars_types import converted, polars_type
from feature_store.plan.problems import RefusedError

if TYPE_CHECKING:
    import polars as pl


class OnDemandError(RefusedError):
    """A function that cannot be an on-demand feature."""


def import_function(text: str, code: str, packages: Collection[str]) -> Callable[..., Any]:
    """The function "module:name".

    Whoever writes a definition, in JSON too, chooses what is imported and called here: so it must be written in a
    package of definitions, and not merely be imported by one.

    Args:
        code: what the function said when it was declared, as `code_of` gives it; "" takes it as it is.
        packages: those that definitions are loaded from.

    Raises:
        OnDemandError: if it is of another package, if there is none, or if it says something else.
    """
    module, _, name = text.partition(":")
    if not _is_inside(module, packages):
        raise _outside(text, packages)
    try:
        function: Any = importlib.import_module(module)
        for part in name.split("."):
            function = getattr(function, part)
    except Exception as error:  # whatever a module raises while it is imported
        raise OnDemandError(
            "function",
            f"{text} cannot be imported: {type(error).__name__}: {error}",
            "write it as module:name, and let every process that reads the view have the module",
        ) from error
    if not callable(function):
        raise OnDemandError("function", f"{text} is a {type(function).__name__}, not a function", "name a function")
    if not _is_inside(str(getattr(function, "__module__", "")), packages):
        raise _outside(text, packages)
    if code and code_of(function) != code:
        raise OnDemandError(
            "function-changed",
            f"{text} says something else than when it was declared: its values would be others",
            "keep the function as it was, and write the change as another function in a new version of the view",
        )
    return function  # type: ignore[no-any-return]


def _is_inside(module: str, packages: Collection[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _outside(text: str, packages: Collection[str]) -> OnDemandError:
    return OnDemandError(
        "function-package",
        f"{text} is not written in {' or '.join(packages)}",
        "write the function in a module there; a package that definitions are loaded from is named in "
        "FS_DEFINITION_PACKAGES",
    )


@dataclass(frozen=True)
class FunctionExpression:
    """What a function computes: `value`, of the feature's type, from the columns `inputs`.

    `overflow` is the condition, never NULL, that an INT does not fit 64 bits on the way, where Polars would wrap it
    around; None if no INT is read, or if Polars cannot compute the function in 128 bits.
    """

    value: pl.Expr
    overflow: pl.Expr | None
    inputs: tuple[str, ...]


def function_expression(function: Callable[..., Any], known: Mapping[str, DType], dtype: DType) -> FunctionExpression:
    """What a function computes over the columns `known`, as an expression of the type `dtype`.

    Raises:
        OnDemandError: if the function fails, reads what is not there, gives another type, or looks at other rows.
    """
    import polars as pl

    inputs = _Inputs(known)
    try:
        found = function(inputs)
    except _UnknownInputError as error:
        raise _unknown_input(error.args[0], known) from error
    except Exception as error:  # whatever the user's code raises
        raise OnDemandError("function", f"it fails: {type(error).__name__}: {error}", "correct the function") from error
    if not isinstance(found, pl.Expr):
        raise OnDemandError(
            "function",
            f"it returns a {type(found).__name__}, not a Polars expression",
            'return an expression over the columns, such as columns["a"] * 2',
        )
    if found.meta.has_multiple_outputs():
        raise OnDemandError("function", "it returns several columns", "return an expression of one column")
    read = tuple(sorted(set(found.meta.root_names())))
    unknown = [name for name in read if name not in known]
    if unknown:
        raise _unknown_input(unknown[0], known)
    types = {name: known[name] for name in read}
    expression = _of_type(found, types, dtype)
    _check_row_by_row(expression, types)
    return FunctionExpression(expression, _overflow(function, expression, types, dtype), read)


def _unknown_input(name: str, known: Mapping[str, DType]) -> OnDemandError:
    return OnDemandError("unknown-column", f"it reads a column {name!r} that is not there", choices(name, known))


class _UnknownInputError(KeyError):
    """A function asked for a column that is not there."""


class _Inputs(Mapping[str, "pl.Expr"]):
    """The columns a function may read, by name; `wide` gives it INTs of 128 bits."""

    def __init__(self, known: Mapping[str, DType], *, wide: bool = False) -> None:
        self._known, self._wide = known, wide

    def __getitem__(self, name: str) -> pl.Expr:
        import polars as pl

        if name not in self._known:
            raise _UnknownInputError(name)
        if not (self._wide and _is_of_ints(self._known[name])):
            return pl.col(name)
        return pl.col(name).cast(pl.Int128 if self._known[name].item is None else pl.List(pl.Int128))

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def _is_of_ints(dtype: DType) -> bool:
    return (dtype.item or dtype).kind == "INT"


def _overflow(function: Callable[..., Any], value: pl.Expr, read: Mapping[str, DType], dtype: DType) -> pl.Expr | None:
    """The condition that a function gives another value with INTs of 128 bits, in which nothing it reads wraps around.

    A function of which the same is so for ordinary values (a hash of an INT) is not judged by that.
    """
    import polars as pl

    if not any(map(_is_of_ints, read.values())):
        return None
    try:
        wide = function(_Inputs(read, wide=True))
        if dtype.kind == "INT":  # compared as it is: to make it an INT would fail where it does not fit
            value = value.cast(pl.Int128)
        else:
            wide = _of_type(wide, read, dtype)
        overflow = value.ne_missing(wide)
        ordinary = _sample_rows(read).select(overflow.alias("value"))["value"]
    except (pl.exceptions.PolarsError, OnDemandError):
        return None
    return None if ordinary.any() else overflow


def _of_type(expression: pl.Expr, read: Mapping[str, DType], dtype: DType) -> pl.Expr:
    import polars as pl

    empty = pl.LazyFrame(schema={name: polars_type(known) for name, known in read.items()})
    try:
        found = empty.select(expression.alias("value")).collect_schema()["value"]
    except pl.exceptions.PolarsError as error:
        raise OnDemandError(
            "function", f"it is no expression over these types: {error}", "correct the function"
        ) from error
    result = converted(expression, found, dtype)
    if result is None:
        raise OnDemandError(
            "type",
            f"it gives {found!r}, dtype says {dtype}",
            f"end it with .cast(pl.{polars_type(dtype)!r}), or declare another dtype",
        )
    return result


_SAMPLES: dict[str, tuple[Any, ...]] = {
    "STRING": ("a", "é b", "", "word", "7"),
    "INT": (3, -7, 0, 1_000_003, 12),
    "FLOAT": (0.5, -2.25, 0.0, 1e6, 3.0),
    "BOOL": (True, False, False, True, False),
    "TIMESTAMP": tuple(EPOCH + timedelta(days=20_000 + 37 * i, hours=i, microseconds=i) for i in range(5)),
}


def _check_row_by_row(expression: pl.Expr, read: Mapping[str, DType]) -> None:
    """Refuses what gives a row another value when it is alone: a request has few rows, a training set many."""
    import polars as pl

    if not read:
        return
    frame = _sample_rows(read)
    try:
        together = frame.with_columns(expression.alias("value"))["value"]
        alone = [frame[i : i + 1].with_columns(expression.alias("value"))["value"] for i in range(len(frame))]
    except pl.exceptions.PolarsError:
        return  # made-up values need not make sense to it; then nothing was learnt
    if not _same(together, pl.concat(alone)):
        raise OnDemandError(
            "function",
            "a row's value depends on the other rows, which are others online than in training",
            "use operations on one row only: no sum, mean, rank, shift or over",
        )


def _same(together: pl.Series, alone: pl.Series) -> bool:
    """Equal but for the last digits: Polars divides a single row by a literal in another way than many."""
    if not together.dtype.is_float():
        return together.equals(alone)
    difference = ((together - alone).abs() / alone.abs().clip(1e-300)).fill_null(0.0)
    return together.is_null().equals(alone.is_null()) and bool((difference <= 1e-9).all())


def _sample_rows(read: Mapping[str, DType]) -> pl.DataFrame:
    import polars as pl

    columns = [pl.Series(name, _samples(dtype, i)) for i, (name, dtype) in enumerate(read.items())]
    return pl.DataFrame(columns, schema={name: polars_type(dtype) for name, dtype in read.items()})


def _samples(dtype: DType, shift: int) -> list[Any]:
    """A few values, in another order for every column, and a NULL."""
    if dtype.kind == "EMBEDDING":
        values: list[Any] = [[0.5 * i + j for j in range(dtype.size or 1)] for i in range(5)]
    elif dtype.item is not None:
        values = [list(_SAMPLES[dtype.item.kind][:n]) for n in (2, 0, 1, 4, 3)]
    else:
        values = list(_SAMPLES[dtype.kind])
    return [*(values[(i + shift) % 5] for i in range(5)), None]
