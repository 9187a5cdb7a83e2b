"""Late rows of a source with a look-back: by day, whatever came, went or changed; what is farther back is unknown."""

from __future__ import annotations

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store import BatchSource
from feature_store.compile.reference_events import Row
from feature_store.compile.span import Span
from feature_store.dtypes import to_micros
from feature_store.duration import DAY
from feature_store.offline.arrivals.arrivals import Arrivals, Cursor, signed
from feature_store.offline.arrivals.fingerprints import Fingerprint, changed_days, days_of, first_day, known_days
from tests.unit.offline.late_cases import START, Shop, event

FAR = 365 * DAY


def found(rows: list[Row]) -> dict[int, Fingerprint]:
    """The fingerprint of each day, row by row."""
    days: dict[int, Fingerprint] = {}
    for row in rows:
        day = to_micros(row["ts"]) // DAY
        count, total = days.get(day, (0, 0))
        digest = hashlib.sha256(repr(sorted(row.items())).encode()).digest()
        days[day] = count + 1, signed(total + int.from_bytes(digest[:8]))
    return days


class ComparedShop(Shop):
    """The source is compared day by day."""

    def __init__(self, folder: Path, window: str, look_back: int = FAR) -> None:
        super().__init__(folder, window, jdbc="shop.public.orders", look_back="1d")
        self.look_back, self.columns = look_back, "user_id"

    def arrived_since(self, span: Span, source: BatchSource, since: Cursor | None) -> Arrivals:
        days = found(self.rows)
        first = first_day(days, self.look_back, span.until)
        return changed_days(days_of(days, first, self.columns), known_days(since), days)


@pytest.fixture
def shop(tmp_path: Path) -> ComparedShop:
    """Six days have been computed, with a look-back of two days from the newest one, day 4."""
    shop = ComparedShop(tmp_path, "2d", 2 * DAY)
    shop.rows += [event("a", 1), event("b", 50), event("c", 97)]
    shop.run(0, 6)
    return shop


def test_rows_that_come_in_time_touch_nothing(shop: ComparedShop) -> None:
    for day in range(6, 12):
        shop.rows.append(event("a", 24 * day + 3))
        assert shop.run(day, day + 1) == ()
        assert shop.late == []
    assert shop.wrong() == set()


@pytest.mark.parametrize("row", [None, event("d", 50), event("b", 50, 2.0), event("b", 50.5)])
def test_a_day_within_the_look_back_that_has_changed(shop: ComparedShop, row: Row | None) -> None:
    shop.rows[1:2] = [] if row is None else [row]
    assert shop.run(6, 7) == ()
    assert shop.late == [(2, 5)]
    shop.assert_right()


@pytest.mark.parametrize("row", [None, event("d", 1)])
def test_a_change_farther_back_is_said_once(shop: ComparedShop, row: Row | None) -> None:
    shop.rows[:1] = [] if row is None else [row]
    shop.rows.append(event("e", 98))
    assert shop.run(6, 7) == ("orders",)
    assert shop.late == [(4, 6)]
    assert shop.run(7, 8) == ()


def test_days_leave_the_look_back_as_they_were(shop: ComparedShop) -> None:
    shop.rows.append(event("a", 24 * 6))
    assert shop.run(6, 7) == ()
    shop.rows[1] = event("b", 51)  # day 2, which was within the look-back until then
    assert shop.run(7, 8) == ("orders",)
    assert shop.late == []


def test_a_change_on_a_day_that_leaves_the_look_back_is_found_then(shop: ComparedShop) -> None:
    shop.rows[1:2] = [event("b", 51), event("a", 24 * 6)]
    assert shop.run(6, 7) == ()
    assert shop.late == [(2, 5)]


def test_rows_of_a_time_to_come_do_not_move_the_look_back(shop: ComparedShop) -> None:
    shop.rows += [event("a", 24 * 6), event("a", 24 * 365 * 9)]
    assert shop.run(6, 7) == ()
    shop.rows.append(event("a", 24 * 4 + 1))
    assert shop.run(7, 8) == ()
    assert shop.late == [(4, 7)]
    shop.assert_right()


def test_a_longer_look_back_counts_from_then_on(shop: ComparedShop) -> None:
    shop.look_back = FAR
    assert shop.run(6, 7) == ()
    shop.rows[0] = event("a", 2)
    assert shop.run(7, 8) == ()
    assert shop.late == [(0, 3)]


def test_fingerprints_of_other_columns_cannot_be_compared(shop: ComparedShop) -> None:
    shop.columns = "user_id amount"
    assert shop.run(6, 7) == ("orders",)
    assert shop.late == []


def test_an_older_partition_does_not_move_the_cursor(shop: ComparedShop) -> None:
    shop.rows.append(event("b", 50))
    shop.run(5, 6)
    assert shop.late == []
    shop.run(6, 7)
    assert shop.late == [(2, 5)]


def test_a_source_without_rows_has_a_look_back_from_the_end_of_the_span(tmp_path: Path) -> None:
    shop = ComparedShop(tmp_path, "2d", 2 * DAY)
    shop.run(0, 6)
    shop.rows += [event("a", 24 * 3)]
    assert shop.run(6, 7) == ()
    assert shop.late == [(3, 6)]
    assert first_day({}, 1, START + 6 * DAY) == START // DAY + 4


hours = st.integers(-48, 160).map(float)
steps = st.lists(
    st.one_of(
        st.just(("next", 0.0)),
        st.tuples(st.sampled_from(["insert", "delete", "update", "move"]), hours),
    ),
    max_size=20,
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(steps=steps, window=st.sampled_from(["1d", "3d", "all_time"]), look_back=st.sampled_from([0, 3 * DAY, FAR]))
def test_computing_what_is_listed_makes_everything_right(steps: list[Any], window: str, look_back: int) -> None:
    with TemporaryDirectory() as folder:
        shop, day, unknown = ComparedShop(Path(folder), window, look_back), 6, False
        shop.rows += [event("u", 3), event("v", 30), event("w", 75)]
        shop.run(0, day)
        seen, first = found(shop.rows), first_day(found(shop.rows), look_back, START + day * DAY)
        for what, at in [*steps, ("next", 0.0), ("next", 0.0)]:
            if what == "next":
                now = found(shop.rows)
                changed = {each for each in now.keys() | seen.keys() if now.get(each) != seen.get(each)}
                said = shop.run(day, day + 1) != ()
                assert said == (min(changed, default=first) < first)
                unknown |= said
                seen, first, day = now, first_day(now, look_back, START + (day + 1) * DAY), day + 1
            elif what == "insert":
                shop.rows.append(event("uvw"[int(at) % 3], at))
            elif shop.rows:
                which = int(at) % len(shop.rows)
                old = shop.rows.pop(which)
                if what != "delete":
                    shop.rows.insert(which, old | {"amount": at} if what == "update" else event(old["user_id"], at))
        if not unknown:
            shop.assert_right()
