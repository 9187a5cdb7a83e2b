"""The span of feature timestamps that one run computes."""

from __future__ import annotations

from dataclasses import dataclass

from feature_store.duration import format_duration


@dataclass(frozen=True)
class Span:
    """All T of the slide grid with `after < T <= until` (epoch microseconds).

    A partition `[D, D + 1)` of events makes known the rows in `(D, D + 1]`: its span.

    Args:
        first: the group's history begins with this span, so every entity whose windows hold something at the span's
            first T gets a row there: the row that stands until its next change.
    """

    after: int
    until: int
    first: bool = False

    def check(self, slide: int) -> None:
        """Refuses a span that does not lie on the grid.

        Raises:
            ValueError: if a bound is not a multiple of the slide, or the span is empty.
        """
        if self.after % slide or self.until % slide or self.after >= self.until:
            raise ValueError(f"({self.after}, {self.until}] is not a span on a grid of {format_duration(slide)}")
