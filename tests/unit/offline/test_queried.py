"""The parts that a query group's span is computed in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from feature_store.compile.span import Span
from feature_store.duration import HOUR
from feature_store.offline.queried import MOST_COPIES, parts_of


@given(st.integers(1, 3000), st.integers(0, MOST_COPIES * 2), st.booleans())
def test_parts_are_the_span_and_copy_no_more_than_they_may(hours: int, rows: int, first: bool) -> None:
    span = Span(0, hours * HOUR, first)
    parts = list(parts_of(span, HOUR, rows))
    assert [part.after for part in parts] == [0, *(part.until for part in parts[:-1])]
    assert parts[-1].until == span.until
    assert [part.first for part in parts] == [first, *[False] * (len(parts) - 1)]
    instants = [(part.until - part.after) // HOUR for part in parts]
    assert all(count * rows <= MOST_COPIES or count == 1 for count in instants)
    assert len(parts) == 1 or (instants[0] + 1) * rows > MOST_COPIES


def test_hours_of_months_over_a_million_rows() -> None:
    """A third of a year of hours was one statement of 2,928 copies of each row."""
    parts = list(parts_of(Span(0, 2928 * HOUR), HOUR, 1_000_000))
    assert {(part.until - part.after) // HOUR for part in parts} == {20, 8}
