"""Features: one named, typed column of a group."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Any

from pydantic import model_validator
from pydantic.dataclasses import dataclass

from feature_store.dsl.aggregation import Aggregation
from feature_store.dsl.definition import STRICT, Definition
from feature_store.dsl.dtype_field import DTypeField
from feature_store.dsl.expectation import Expectations
from feature_store.dsl.window import WindowField
from feature_store.dtypes import Value, read_value


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
        expect: an `Expectation`, as a dict of its arguments, or a list of them, some of which may only warn.
        rename_ok: why the name breaks the naming convention.
        pii: whether it is personal data: masked for whoever has no grant of it, as is what derives from it (derived and
            on-demand features, features of chained groups). None: it is if it is computed from a personal column of
            its source, and is no count.
    """

    name: str
    agg: Aggregation | None = None
    _: KW_ONLY
    dtype: DTypeField
    window: WindowField | None = None
    where: str | None = None
    default: Value = None
    description: str = ""
    expect: Expectations = ()
    rename_ok: str = ""
    pii: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_default(cls, data: Any) -> Any:
        """The default out of its JSON form."""
        if isinstance(data, dict) and "default" in data and isinstance(data.get("dtype"), str):
            return {**data, "default": read_value(data["dtype"], data["default"])}
        return data
