"""On-demand features of an online read: the caller's request values checked, the kernel run on what was read."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from feature_store.compile.function_calls import FunctionCalls
from feature_store.compile.on_demand import OnDemandKernel
from feature_store.dtypes import TIMESTAMP, DType, Value, from_micros, to_micros
from feature_store.errors import InputError
from feature_store.online.vectors import GroupVectors
from feature_store.plan.clock import REQUEST_TIME
from feature_store.plan.polars_types import polars_type
from feature_store.plan.schema import Column, ViewSchema

_MISSING = object()


@dataclass(frozen=True)
class OnDemandValues:
    """The values of each on-demand feature, one per row; by feature the rows on which it does not fit 64 bits, and why
    it could not be computed."""

    values: tuple[Sequence[Value], ...]
    overflows: dict[str, list[int]]
    failures: dict[str, str]


class OnlineOnDemand:
    """The on-demand features of one view, ready to be computed for requests; used from any thread."""

    def __init__(self, view: ViewSchema) -> None:
        self.view = view
        self._kernel = OnDemandKernel(view)
        self._stored = {
            feature.name: (i, j) for i, group in enumerate(view.groups) for j, feature in enumerate(group.features)
        }

    def steps(
        self,
        rows: Sequence[Mapping[str, Any]],
        groups: Sequence[GroupVectors],
        request: Mapping[str, Sequence[Value]],
        instant: int,
        *,
        apart: bool = False,
    ) -> Generator[FunctionCalls, Any, OnDemandValues]:
        """The values of each on-demand feature, one per row; steps, as `OnDemandKernel.steps`.

        Args:
            request: the values of `request_values`.
            instant: the request's time, in microseconds.
            apart: whether functions are run by who drives the steps, and one that fails only fails itself.

        Raises:
            InputError: naming the feature, if a function fails, unless `apart`.
        """
        if not rows:
            return OnDemandValues(tuple(() for _ in self.view.on_demand), {}, {})
        columns = {}
        for name, dtype in self._kernel.inputs.items():
            if name == REQUEST_TIME:
                columns[name] = pl.Series([instant]).new_from_index(0, len(rows)).cast(polars_type(dtype))
            elif name in self._stored:
                group, feature = self._stored[name]
                columns[name] = _stored_series(groups[group], feature, dtype)
            else:
                columns[name] = _series(request[name] if name in request else [row[name] for row in rows], dtype)
        computed = yield from self._kernel.steps(columns, partial=apart, apart=apart)
        return OnDemandValues(
            tuple(_values(computed.values[column.name], column.dtype) for column in self.view.on_demand),
            {name: flags.arg_true().to_list() for name, flags in computed.overflows.items()},
            {name: error.message for name, error in computed.failures.items()},
        )


def request_values(
    view: ViewSchema, rows: Sequence[Mapping[str, Any]], request: Mapping[str, Any]
) -> dict[str, list[Value]]:
    """The request values of a view, one per row: that of the row itself, else the one given for all rows.

    None is NULL, and so is a FLOAT that is not finite.

    Raises:
        InputError: naming the value, if it is given nowhere, of another type, or not one of the view's.
    """
    wanted = {column.name: column for column in view.request}
    unknown = [name for name in request if name not in wanted]
    if unknown:
        raise InputError(
            f"view {view.id} has no request value {unknown[0]!r}",
            where="request",
            remedy=f"it has {', '.join(wanted)}" if wanted else "leave it out",
            code="unknown-request-value",
        )
    common = {name: _checked(wanted[name], value, "request") for name, value in request.items()}
    return {name: _per_row(column, rows, common.get(name, _MISSING)) for name, column in wanted.items()}


def _per_row(column: Column, rows: Sequence[Mapping[str, Any]], common: Any) -> list[Value]:
    values: list[Value] = []
    for number, row in enumerate(rows):
        if column.name in row:
            values.append(_checked(column, row[column.name], f"row {number}"))
        elif common is _MISSING:
            raise InputError(
                f"the request value {column.name!r} is missing",
                where=f"row {number}",
                remedy=f"give it for all rows, request={{{column.name!r}: …}}, or in every row",
                code="missing-request-value",
            )
        else:
            values.append(common)
    return values


def _checked(column: Column, value: Any, where: str) -> Value:
    if isinstance(value, float) and not math.isfinite(value) and column.dtype.kind == "FLOAT":
        return None
    try:
        if column.dtype.accepts(value):
            if isinstance(value, str):
                value.encode()  # a lone surrogate has no UTF-8 form
            return float(value) if column.dtype.kind == "FLOAT" and value is not None else value
    except (OverflowError, UnicodeEncodeError):
        pass
    naive = column.dtype == TIMESTAMP and hasattr(value, "tzinfo")
    raise InputError(
        f"the request value {column.name!r} is {column.dtype}, not {value!r}",
        where=where,
        remedy="add a time zone: tzinfo=UTC" if naive else f"give a value of type {column.dtype}, or None",
        code="wrong-request-type",
    )


def _stored_series(part: GroupVectors, feature: int, dtype: DType) -> pl.Series:
    if dtype == TIMESTAMP:  # stored as Polars has it
        return pl.Series(values=part.stored(feature), dtype=pl.Int64).cast(polars_type(dtype))
    return _series(part.column(feature), dtype)


def _series(values: Sequence[Value], dtype: DType) -> pl.Series:
    if dtype != TIMESTAMP:
        return pl.Series(values=values, dtype=polars_type(dtype))
    micros = [None if value is None else to_micros(value) for value in values]  # type: ignore[arg-type]
    return pl.Series(values=micros, dtype=pl.Int64).cast(polars_type(dtype))


def _values(series: pl.Series, dtype: DType) -> list[Value]:
    if dtype != TIMESTAMP:
        return series.to_list()
    return [None if micros is None else from_micros(micros) for micros in series.cast(pl.Int64).to_list()]
