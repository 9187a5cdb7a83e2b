"""Features: one named, typed column of a group."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Any

from pydantic import model_validator
from pydantic.dataclasses import dataclass

from feature_store.dsl.aggregation import Aggregation
from feature_store.dsl.definition import STRICT, Definition
from feature_store.dsl.window import WindowField
from feature_store.dtypes import DTypeField, Value, read_value


@dataclass(frozen=True, eq=False, kw_only=True, config=STRICT)
class Expectation(Definition):
    """What the values of a feature must be for a run to be good; `None` expects nothing.

    Args:
        min, max: closed bounds of every non-NULL value.
        null_rate: greatest share of NULLs, 0 to 1.
    """

    min: int | float | None = None
    max: int | float | None = None
    null_rate: int | float | None = None


@dataclass(frozen=True, eq=False, config=STRICT)
class Feature(Definition):
    """One column of a feature group.

    Args:
        name: `{entity}_{what}_{aggregation}_{window}` in snake_case.
        agg: aggregation over the source's rows; none in a query group, where the query names the column.
        dtype: type of the value.
        window: "all_time", a duration: the value at T is over events in `[T - window, T)`, or `session(gap)`.
        where: condition on a row (SQL) for it to count in this feature.
        default: given to readers when the value is missing or NULL; never stored.
        expect: `Expectation` or a dict of its arguments.
        rename_ok: why the name breaks the naming convention.
    """

    name: str
    agg: Aggregation | None = None
    _: KW_ONLY
    dtype: DTypeField
    window: WindowField | None = None
    where: str | None = None
    default: Value = None
    description: str = ""
    expect: Expectation | None = None
    rename_ok: str = ""

    @model_validator(mode="before")
    @classmethod
    def _read_default(cls, data: Any) -> Any:
        """The default out of its JSON form."""
        if isinstance(data, dict) and "default" in data and isinstance(data.get("dtype"), str):
            return {**data, "default": read_value(data["dtype"], data["default"])}
        return data
