"""Late rows of files, whatever happens to these: written, written again, moved, removed, with any size and time."""

from __future__ import annotations

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
from feature_store.offline.arrivals.files import Contents, File, changed_files, known_files
from tests.unit.offline.late_cases import Shop, event


class FilesShop(Shop):
    """The source is files, which are not opened here unless a cursor does not know them."""

    def __init__(self, folder: Path, window: str) -> None:
        super().__init__(folder, window, path="raw/orders")
        self.files: dict[str, tuple[File, list[Row]]] = {}
        self.opened: set[str] = set()

    def write(self, path: str, *rows: Row, size: int = 100, modified: int = 0) -> None:
        self.files[path] = File(path, size, modified), list(rows)
        self._look()

    def remove(self, path: str) -> None:
        self.files.pop(path, None)
        self._look()

    def move(self, path: str, to: str) -> None:
        if path in self.files:
            file, rows = self.files.pop(path)
            self.write(to, *rows, size=file.size, modified=file.modified)

    def arrived_since(self, span: Span, source: BatchSource, since: Cursor | None) -> Arrivals:
        seen = known_files(since)
        new = {p: rows for p, (file, rows) in self.files.items() if seen is None or file.identity not in seen}
        self.opened = set(new)
        times = {path: sorted(to_micros(row["ts"]) for row in rows) for path, rows in new.items()}
        latest = {at // DAY: at for at in sorted(at for each in times.values() for at in each)}
        spans = {path: (each[0], each[-1]) for path, each in times.items() if each}
        return changed_files(DAY, [file for file, _ in self.files.values()], Contents(spans, (*latest.values(),)), seen)

    def _look(self) -> None:
        self.rows = [row for _, rows in self.files.values() for row in rows]


@pytest.fixture
def shop(tmp_path: Path) -> FilesShop:
    """Four days have been computed, of two files."""
    shop = FilesShop(tmp_path, "2d")
    shop.write("a", event("a", 1), modified=5)
    shop.write("b", event("b", 30), event("b", 50), modified=5)
    shop.run(0, 4)
    return shop


def test_rows_that_come_in_time_touch_nothing(shop: FilesShop) -> None:
    for day in range(4, 7):
        shop.write(f"day{day}", event("a", 24 * day + 3), modified=day)
        assert shop.run(day, day + 1) == ()
        assert shop.late == []
        assert shop.opened == {f"day{day}"}
    assert shop.wrong() == set()


@pytest.mark.parametrize("modified", [0, 5, 6, 2**50])
def test_a_file_that_was_not_there_is_late_whatever_its_time(shop: FilesShop, modified: int) -> None:
    shop.write("c", event("c", 30), event("c", 97), modified=modified)
    assert shop.run(4, 5) == ()
    assert shop.opened == {"c"}
    assert shop.late == [(1, 4)]
    shop.assert_right()


def test_a_file_that_takes_the_place_of_another_of_as_many_rows(shop: FilesShop) -> None:
    shop.remove("a")
    shop.write("c", event("c", 31), modified=5)
    shop.run(4, 5)
    assert shop.late == [(0, 4)]
    shop.assert_right()


@pytest.mark.parametrize(("size", "modified"), [(101, 5), (100, 6), (100, 4)])
def test_of_a_file_that_was_written_again_what_it_had_is_late_too(shop: FilesShop, size: int, modified: int) -> None:
    shop.write("a", event("a", 80), size=size, modified=modified)
    shop.run(4, 5)
    assert shop.late == [(0, 4)]
    shop.assert_right()


def test_a_file_without_rows_touches_nothing(shop: FilesShop) -> None:
    shop.write("empty")
    shop.run(4, 5)
    shop.remove("empty")
    assert shop.run(5, 6) == ()
    assert shop.late == []


def test_an_older_partition_does_not_move_the_cursor(shop: FilesShop) -> None:
    shop.write("c", event("a", 30))
    shop.run(3, 4)
    assert shop.late == []
    shop.run(4, 5)
    assert shop.late == [(1, 4)]


def test_a_file_that_comes_while_partitions_are_computed_is_found(shop: FilesShop) -> None:
    with shop.running(4, 5):
        shop.write("c", event("a", 100))
        shop.run(5, 6)
    shop.run(6, 7)
    assert 4 in shop.listed()
    shop.assert_right()


def test_times_as_far_off_as_can_be_touch_what_they_reach() -> None:
    first, last = -(2**63), 2**63 - 1
    listed = [File("a", 1, 1)]
    before = changed_files(DAY, listed, Contents({"a": (first, last)}, (first, last)), None)
    assert not before.complete
    after = changed_files(DAY, [], Contents({}, ()), known_files(before.cursor))
    assert after.times.tolist() == [[-(2**62), 2**62]]


paths = st.sampled_from("abcdef")
rows = st.lists(st.tuples(st.sampled_from("uvw"), st.integers(-48, 160).map(float)), max_size=3)
steps = st.lists(
    st.one_of(
        st.just(("next",)),
        st.tuples(st.just("write"), paths, rows, st.integers(0, 1)),
        st.tuples(st.just("remove"), paths),
        st.tuples(st.just("move"), paths, paths),
    ),
    max_size=15,
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(steps=steps, window=st.sampled_from(["1d", "3d", "all_time"]))
def test_computing_what_is_listed_makes_everything_right(steps: list[Any], window: str) -> None:
    with TemporaryDirectory() as folder:
        shop, day, now = FilesShop(Path(folder), window), 6, 0
        for path, at in zip("abc", (3, 30, 75), strict=True):  # no two of one size and time: they could change places
            shop.write(path, event(path, at), modified=-at)
        shop.run(0, day)
        for what, *args in [*steps, ("next",), ("next",)]:
            now += 2
            match what:
                case "next":
                    assert shop.run(day, day + 1) == ()
                    day += 1
                case "write":
                    path, events, sooner = args
                    shop.write(path, *(event(user, at) for user, at in events), modified=now - sooner)
                case "remove":
                    shop.remove(*args)
                case "move":
                    shop.move(*args)
        shop.assert_right()
