"""The kernel of on-demand features: the same code computes them for a request and for a training set."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from datetime import datetime
from functools import partial as bound
from typing import TypeAlias

import polars as pl

from feature_store.compile.function_calls import FunctionCall, FunctionCalls, FunctionFailure, Outcome
from feature_store.compile.polars_expressions import Constant, clean, constant_columns, lower
from feature_store.dtypes import TIMESTAMP, DType, to_micros
from feature_store.errors import InputError
from feature_store.plan.clock import REQUEST_TIME
from feature_store.plan.polars_types import polars_type
from feature_store.plan.schema import OnDemandColumn, ViewSchema

Running: TypeAlias = "Generator[FunctionCalls, list[Outcome], Computed]"


@dataclass(frozen=True)
class Computed:
    """On-demand features by name, defaults filled in, and on how many rows each was NULL before that.

    `overflows` says of those of which an INT leaves 64 bits on which rows it does; it is NULL there. `failures` says
    of those whose function failed why; they are NULL, and so are those that read them.
    """

    values: dict[str, pl.Series]
    missing: dict[str, int]
    overflows: dict[str, pl.Series]
    failures: dict[str, InputError]


@dataclass(frozen=True)
class _Step:
    """A feature ready to run; `overflow` says on which rows an INT left 64 bits, None if none can."""

    column: OnDemandColumn
    value: pl.Expr
    overflow: pl.Expr | None
    constants: dict[str, Constant]


class OnDemandKernel:
    """Computes the on-demand features of a view; made once, used from any thread.

    Attributes:
        inputs: name and type of the columns it needs: stored features with their defaults filled in, keys, request
            values, and always request_time.
    """

    def __init__(self, view: ViewSchema) -> None:
        self.view = view
        own = {column.name for column in view.on_demand}
        read = {name for column in view.on_demand for name in column.inputs} - own | {REQUEST_TIME}
        types = {column.name: column.dtype for column in (*view.keys, *view.features, *view.request)}
        self.inputs: dict[str, DType] = {n: t for n, t in {**types, REQUEST_TIME: TIMESTAMP}.items() if n in read}
        self._stages = _stages(view.on_demand)
        steps = [step for stage in self._stages for step in stage]
        self._constants = {name: constant for step in steps for name, constant in step.constants.items()}

    def compute(self, columns: dict[str, pl.Series], *, partial: bool = False) -> Computed:
        """The features of all rows.

        Args:
            columns: the inputs, of the types of `polars_type` and of one length; not finite FLOATs count as NULL.
            partial: whether a feature whose function fails on these values only fails itself.

        Raises:
            InputError: naming the feature, if a function fails, unless `partial`.
        """
        steps = self.steps(columns, partial=partial)
        while True:
            try:
                next(steps)
            except StopIteration as done:
                computed: Computed = done.value
                return computed

    def steps(self, columns: dict[str, pl.Series], *, partial: bool = False, apart: bool = False) -> Running:
        """The same in steps: with `apart` they yield the calls of functions, and are sent the outcomes.

        Raises:
            InputError: as `compute`.
        """
        found = [clean(columns[name]).alias(name) for name in self.inputs]
        found += constant_columns(self._constants.values(), len(found[0]))
        values: dict[str, pl.Series] = {}
        missing: dict[str, int] = {}
        overflows: dict[str, pl.Series] = {}
        failures: dict[str, InputError] = {}
        for stage in self._stages:
            computed = yield from self._run(pl.DataFrame([*found, *values.values()]), stage, failures, apart)
            if failures and not partial:
                raise next(iter(failures.values()))
            for step in stage:
                column = step.column
                if column.name in failures:
                    values[column.name] = computed[column.name]
                    missing[column.name] = len(computed)
                    continue
                series = computed[column.name]
                if step.overflow is not None and (flags := computed[_flag(step)]).any():
                    overflows[column.name] = flags
                    series = series.set(flags, None)
                missing[column.name] = series.null_count()
                if column.default is not None and missing[column.name]:
                    series = series.fill_null(_default(column))
                values[column.name] = series
        return Computed(values, missing, overflows, failures)

    def _run(
        self, frame: pl.DataFrame, stage: list[_Step], failures: dict[str, InputError], apart: bool
    ) -> Generator[FunctionCalls, list[Outcome], pl.DataFrame]:
        """The values of a stage, and where they overflow; notes which of its features fail: they are NULL."""
        rows = frame.height
        if rows == 1 and any(step.column.function for step in stage):
            # Polars divides a column by a literal in another way if it has one row: a last digit of difference
            frame = pl.DataFrame([pl.concat([column, column], rechunk=True) for column in frame])
        values = {step.column.name: step.value for step in stage}
        overflows = {_flag(step): step.overflow for step in stage if step.overflow is not None}
        if failures:
            self._fail_readers(stage, values, failures)
        if apart:
            frame = yield from self._run_functions(frame, stage, values, overflows, failures)
        try:
            computed = frame.with_columns(**values, **overflows)
        except Exception:  # whatever a user's function raises
            self._fail_alone(frame, stage, values, failures)
            flags = {name: _flags_of_each_row(frame, overflow) for name, overflow in overflows.items()}
            computed = frame.with_columns(**values, **flags)
        return computed[:rows]

    def _run_functions(
        self,
        frame: pl.DataFrame,
        stage: list[_Step],
        values: dict[str, pl.Expr],
        overflows: dict[str, pl.Expr],
        failures: dict[str, InputError],
    ) -> Generator[FunctionCalls, list[Outcome], pl.DataFrame]:
        """Has the functions of a stage run: the frame with what they gave, and nothing of them left to compute."""
        steps = [step for step in stage if step.column.function and step.column.name not in failures]
        if not steps:
            return frame
        calls = [
            FunctionCall(self.view.id, step.column.name, step.column.function, bound(_run_function, frame, step))
            for step in steps
        ]
        for step, outcome in zip(steps, (yield FunctionCalls(calls)), strict=True):
            overflows.pop(_flag(step), None)
            if isinstance(outcome, FunctionFailure):
                self._fail(step, values, failures, outcome.why, outcome.cause)
            else:
                del values[step.column.name]
                frame = frame.hstack(outcome)
        return frame

    def _fail_readers(self, stage: list[_Step], values: dict[str, pl.Expr], failures: dict[str, InputError]) -> None:
        """Fails the features that read one that failed."""
        for step in stage:
            failed = [name for name in step.column.inputs if name in failures]
            if failed:
                self._fail(step, values, failures, f"it reads {failed[0]}, which failed", failures[failed[0]])

    def _fail_alone(
        self, frame: pl.DataFrame, stage: list[_Step], values: dict[str, pl.Expr], failures: dict[str, InputError]
    ) -> None:
        """Finds the features that fail."""
        for step in stage:
            try:
                frame.select(values[step.column.name])
            except Exception as error:
                why = f"its function {step.column.function} fails on these values: {type(error).__name__}: {error}"
                self._fail(step, values, failures, why, error)

    def _fail(
        self,
        step: _Step,
        values: dict[str, pl.Expr],
        failures: dict[str, InputError],
        why: str,
        cause: Exception | None,
    ) -> None:
        name = step.column.name
        failures[name] = InputError(
            why,
            where=self._place(step),
            remedy="give other values, or let the function return NULL for them",
            code="function-failed",
        )
        failures[name].__cause__ = cause
        values[name] = pl.lit(None, dtype=polars_type(step.column.dtype))

    def _place(self, step: _Step) -> str:
        return f"view {self.view.id}, on-demand feature {step.column.name}"


def _run_function(frame: pl.DataFrame, step: _Step) -> pl.DataFrame:
    """The value of a function on all rows, and where it overflows."""
    value = step.value.alias(step.column.name)
    if step.overflow is None:
        return frame.select(value)
    try:
        return frame.select(value, step.overflow.alias(_flag(step)))
    except Exception:  # of the function itself it is raised again
        return frame.select(value).with_columns(_flags_of_each_row(frame, step.overflow).alias(_flag(step)))


def _stages(columns: tuple[OnDemandColumn, ...]) -> list[list[_Step]]:
    """The features in order, cut where one reads one of the same stage."""
    stages: list[list[_Step]] = []
    names: set[str] = set()
    for column in columns:
        if not stages or names & set(column.inputs):
            stages.append([])
            names = set()
        stages[-1].append(_step(column))
        names.add(column.name)
    return stages


def _step(column: OnDemandColumn) -> _Step:
    if column.expression is None:
        assert column.polars is not None
        return _Step(column, column.polars, column.polars_overflow, {})
    lowered = lower(column.expression)
    return _Step(column, lowered.value, lowered.overflow, lowered.constants)


def _default(column: OnDemandColumn) -> pl.Expr:
    value = to_micros(column.default) if isinstance(column.default, datetime) else column.default
    return pl.lit(value).cast(polars_type(column.dtype))


def _flags_of_each_row(frame: pl.DataFrame, overflow: pl.Expr) -> pl.Series:
    """On which rows a step overflows, each computed alone: a function may fail with an INT that only 128 bits hold."""
    flags = []
    for i in range(len(frame)):
        try:
            flags.append(frame[i : i + 1].select(overflow).item())
        except pl.exceptions.PolarsError:
            flags.append(True)
    return pl.Series(flags, dtype=pl.Boolean)


def _flag(step: _Step) -> str:
    return f"overflow of {step.column.name}"  # no name of a column has blanks
