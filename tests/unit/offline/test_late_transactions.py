"""Late rows of a Postgres table: a small model of its versions and transactions, which end in any order."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
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
from feature_store.offline.arrivals.arrivals import Arrivals, Cursor
from feature_store.offline.arrivals.transactions import Rows, changed_rows, known_versions, same_versions
from tests.unit.offline.late_cases import Shop, event

SERVER = "7123 1"


@dataclass
class Version:
    """A version of a row: the transactions that made it and, if any, ended it (parts have numbers of their own)."""

    row: Row
    made_by: int
    ended_by: int | None = None


class PostgresShop(Shop):
    """The source is a table of Postgres."""

    def __init__(self, folder: Path, window: str) -> None:
        super().__init__(folder, window, jdbc="shop.public.orders")
        self.server, self.following = SERVER, 700
        self.whole: dict[int, int] = {}
        self.active: set[int] = set()
        self.committed: set[int] = set()
        self.versions: list[Version] = []

    def begin(self) -> int:
        number = self._number()
        self.whole[number] = number
        self.active.add(number)
        return number

    def savepoint(self, transaction: int) -> int:
        """The number under which a part of a transaction writes."""
        number = self._number()
        self.whole[number] = transaction
        return number

    def insert(self, number: int, *rows: Row) -> None:
        self.versions += [Version(row, number) for row in rows]

    def delete(self, number: int, version: Version) -> None:
        version.ended_by = number

    def commit(self, transaction: int) -> None:
        self.active.remove(transaction)
        self.committed.add(transaction)
        self._look()

    def abort(self, transaction: int) -> None:
        self.active.remove(transaction)

    def arrive(self, *rows: Row) -> None:
        transaction = self.begin()
        self.insert(transaction, *rows)
        self.commit(transaction)

    def visible(self) -> list[Version]:
        return [each for each in self.versions if self._did(each.made_by) and not self._did(each.ended_by)]

    def arrived_since(self, span: Span, source: BatchSource, since: Cursor | None) -> Arrivals:
        seen = known_versions(since, self.server, self.following)
        oldest = min(self.active, default=self.following)
        found: dict[tuple[int, int | None], list[Version]] = defaultdict(list)
        for version in self.visible():
            recent = version.made_by if version.made_by >= oldest else None
            found[to_micros(version.row["ts"]) // DAY, recent].append(version)
        rows = []
        for (partition, recent), versions in found.items():
            new = [
                v for v in versions if seen is not None and v.made_by >= seen.oldest and v.made_by not in seen.recent
            ]
            latest = max((to_micros(v.row["ts"]) for v in new), default=None)
            hashes = sum(hash((v.made_by, "hash")) for v in versions)
            rows.append(Rows(partition, recent, len(versions), len(versions) - len(new), latest, hashes))
        return changed_rows(DAY, self.server, oldest, rows, seen)

    def _did(self, number: int | None) -> bool:
        return number is not None and self.whole[number] in self.committed

    def _look(self) -> None:
        self.rows = [version.row for version in self.visible()]

    def _number(self) -> int:
        self.following += 1
        return self.following - 1


@pytest.fixture
def shop(tmp_path: Path) -> PostgresShop:
    """Four days have been computed."""
    shop = PostgresShop(tmp_path, "2d")
    shop.arrive(event("a", 1), event("b", 30))
    shop.run(0, 4)
    return shop


def test_rows_that_come_in_time_touch_nothing(shop: PostgresShop) -> None:
    for day in range(4, 7):
        shop.arrive(event("a", 24 * day + 3))
        assert shop.run(day, day + 1) == ()
        assert shop.late == []
    assert shop.wrong() == set()


@pytest.mark.parametrize("by_part", [False, True])
def test_a_transaction_that_commits_days_later_is_found_once(shop: PostgresShop, by_part: bool) -> None:
    slow = shop.begin()
    shop.insert(shop.savepoint(slow) if by_part else slow, event("c", 30))
    for day in range(4, 7):
        shop.arrive(event("a", 24 * day + 3))
        shop.run(day, day + 1)
        assert shop.late == []
    shop.commit(slow)
    shop.run(7, 8)
    assert shop.late == [(1, 4)]
    shop.assert_right()
    shop.run(8, 9)
    assert shop.late == []


def test_what_was_never_committed_touches_nothing(shop: PostgresShop) -> None:
    failed = shop.begin()
    shop.insert(failed, event("c", 30))
    shop.run(4, 5)
    shop.abort(failed)
    shop.run(5, 6)
    assert shop.late == []


def test_a_row_that_takes_the_place_of_another(shop: PostgresShop) -> None:
    change = shop.begin()
    shop.delete(change, shop.versions[0])
    shop.insert(change, event("a", 2))
    shop.commit(change)
    shop.run(4, 5)
    assert shop.late == [(0, 3)]
    shop.assert_right()


def test_rows_that_went_are_found_wherever_they_were(shop: PostgresShop) -> None:
    change = shop.begin()
    shop.delete(change, shop.versions[1])
    shop.commit(change)
    shop.run(4, 5)
    assert shop.late == [(1, 4)]
    shop.assert_right()


@pytest.mark.parametrize(("server", "following"), [("7124 1", 10_000), ("7123 2", 10_000), (SERVER, 650)])
def test_of_a_restored_server_nobody_can_tell(shop: PostgresShop, server: str, following: int) -> None:
    shop.server, shop.following, shop.committed, shop.whole = server, following, {640}, {640: 640}
    for version in shop.versions:  # written once more by what restored them
        version.made_by = 640
    assert shop.run(4, 5) == ("orders",)
    assert shop.late == []
    assert shop.run(5, 6) == ()


def test_other_transactions_do_not_alter_what_is_the_same(shop: PostgresShop) -> None:
    [source] = shop.plan.sources
    span = Span(0, 1)
    before = shop.arrived_since(span, source, None).cursor
    shop.abort(shop.begin())
    after = shop.arrived_since(span, source, None).cursor
    assert before != after
    assert same_versions(before) == same_versions(after)
    shop.arrive(event("a", 1))
    assert same_versions(before) != same_versions(shop.arrived_since(span, source, None).cursor)


hours = st.integers(-48, 160).map(float)
steps = st.lists(
    st.one_of(
        st.just(("next",)),
        st.tuples(st.sampled_from(["insert", "by part", "delete", "update"]), st.integers(0, 2), hours),
        st.tuples(st.sampled_from(["commit", "commit", "abort"]), st.integers(0, 2)),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(steps=steps, window=st.sampled_from(["1d", "3d", "all_time"]))
def test_computing_what_is_listed_makes_everything_right(steps: list[Any], window: str) -> None:
    with TemporaryDirectory() as folder:
        shop, day, open_by = PostgresShop(Path(folder), window), 6, dict[int, int]()
        shop.arrive(event("u", 3), event("v", 30), event("w", 75))
        shop.run(0, day)
        for what, *args in [*steps, ("next",), ("next",)]:
            if what == "next":
                assert shop.run(day, day + 1) == ()
                day += 1
                continue
            if what in ("commit", "abort"):
                if args[0] in open_by:
                    getattr(shop, what)(open_by.pop(args[0]))
                continue
            who, at = args
            transaction = open_by.setdefault(who, open_by.get(who) or shop.begin())
            number = shop.savepoint(transaction) if what == "by part" else transaction
            if what in ("delete", "update"):
                old = [v for v in shop.visible() if v.ended_by is None or shop.whole[v.ended_by] not in shop.active]
                if not old:
                    continue
                shop.delete(number, old[int(at) % len(old)])
            if what != "delete":
                shop.insert(number, event("uvw"[int(at) % 3], at))
        shop.assert_right()
