"""The text form of cursors."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from feature_store.offline.arrivals.arrivals import packed, signed, unpacked

numbers = st.integers(-(2**63), 2**63 - 1)


@given(rows=st.lists(st.tuples(numbers, numbers, st.integers(0, 3))))
def test_packed_rows_are_read_back(rows: list[tuple[int, ...]]) -> None:
    assert unpacked(3, packed(3, rows)) == [list(row) for row in rows]


def test_the_partitions_of_ten_years_are_a_short_text() -> None:
    assert len(packed(2, ((day, 1000) for day in range(20_000, 23_650)))) < 200


@given(number=st.integers(), by=numbers)
def test_sums_may_wrap_at_any_time(number: int, by: int) -> None:
    assert -(2**63) <= signed(number) < 2**63
    assert (signed(number) - number) % 2**64 == 0
    assert signed(signed(number) + by) == signed(number + by)
