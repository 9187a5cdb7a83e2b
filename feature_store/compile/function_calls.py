"""Functions of on-demand features to be run apart from the rest, by whoever bounds their time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import polars as pl

Outcome: TypeAlias = "pl.DataFrame | FunctionFailure"


@dataclass(frozen=True)
class FunctionCall:
    """The function of one on-demand feature on the rows of a request.

    Attributes:
        view: the view's identity.
        feature: its name.
        function: "module:name".
        run: computes it, in any thread; raises what the function raises.
    """

    view: str
    feature: str
    function: str
    run: Callable[[], pl.DataFrame]


@dataclass(frozen=True)
class FunctionFailure:
    """Why a call gave nothing; `cause` is what it raised, if it did."""

    why: str
    cause: Exception | None = None


@dataclass(frozen=True)
class FunctionCalls:
    """Asks for the outcomes of calls, none of which reads what another gives."""

    calls: Sequence[FunctionCall]

    def run(self) -> list[Outcome]:
        """The outcomes, one call after the other, however long they take."""
        return [outcome_of(call) for call in self.calls]


def outcome_of(call: FunctionCall) -> Outcome:
    """What comes of a call."""
    try:
        return call.run()
    except Exception as error:  # whatever a user's function raises
        why = f"its function {call.function} fails on these values: {type(error).__name__}: {error}"
        return FunctionFailure(why, error)
