"""Expectations: what the rows of a run must be like, and whether a run that breaks one is published all the same."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, SerializerFunctionWrapHandler, WrapSerializer
from pydantic.dataclasses import dataclass

from feature_store.dsl.definition import STRICT, Definition
from feature_store.duration import Duration, parse_duration


@dataclass(frozen=True, eq=False, kw_only=True, config=STRICT)
class Expectation(Definition):
    """What the values of a feature must be for a run to be good; `None` expects nothing.

    Args:
        min, max: closed bounds of every non-NULL value.
        null_rate: greatest share of NULLs, 0 to 1.
        values: the only non-NULL values (of a list: items) there may be.
        blocking: whether a run that breaks it publishes nothing; otherwise it is a warning.
    """

    min: int | float | None = None
    max: int | float | None = None
    null_rate: int | float | None = None
    values: tuple[bool | int | str, ...] | None = None
    blocking: bool = True


@dataclass(frozen=True, eq=False, kw_only=True, config=STRICT)
class RowsExpectation(Definition):
    """How many rows a partition must have: shares of the median of the partitions before it.

    Judged from the third such partition on; the one in which a group's history begins is none of them.

    Args:
        low, high: closed bounds; 1 is as many as the median.
        recent: how many partitions before it are looked at.
        blocking: whether a run that breaks it publishes nothing; otherwise it is a warning.
    """

    low: int | float = 0.5
    high: int | float = 2
    recent: int = 7
    blocking: bool = True

    def _check(self) -> None:
        if not 0 <= self.low <= self.high:
            raise ValueError(f"low={self.low} and high={self.high} are no band")
        if self.recent < 3:
            raise ValueError(f"recent={self.recent} partitions are too few to compare with: use 3 or more")


@dataclass(frozen=True, eq=False, kw_only=True, config=STRICT)
class SourceExpectation(Definition):
    """How fresh every source of a group must be when a partition is computed.

    Args:
        max_age: how long before the end of the partition its newest row may be.
        blocking: whether a run that breaks it publishes nothing; otherwise it is a warning.
    """

    max_age: Duration
    blocking: bool = True

    @property
    def age_size(self) -> int:
        """`max_age` in microseconds."""
        return parse_duration(self.max_age)


def _as_many(given: Any) -> Any:
    return given if isinstance(given, list | tuple) else () if given is None else (given,)


def _as_given(expectations: Any, dump: SerializerFunctionWrapHandler) -> Any:
    dumped = dump(expectations)
    return dumped[0] if len(dumped) == 1 else dumped


Expectations = Annotated[tuple[Expectation, ...], BeforeValidator(_as_many), WrapSerializer(_as_given)]
"""One or several; a single one is written without a list around it."""
