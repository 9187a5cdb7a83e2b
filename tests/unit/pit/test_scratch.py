"""Scratch files of joins: what was written is read, and a killed process leaves nothing for long."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from feature_store.pit.scratch import BatchFile, Scratch

HOLD = """
import sys, time
import pyarrow as pa
from pathlib import Path
from feature_store.pit.scratch import Scratch

with Scratch(Path(sys.argv[1])) as scratch:
    scratch.file(pa.schema({"x": pa.int64()})).add(1, pa.table({"x": [1]}))
    print("written", flush=True)
    time.sleep(600)
"""
KIND = pa.struct({"of": pa.dictionary(pa.int8(), pa.string())})
SCHEMA = pa.schema({"number": pa.int64(), "text": pa.string(), "kind": KIND})


def table(number: int) -> pa.Table:
    kinds = [{"of": "x"}, None, {"of": None}]
    return pa.table({"number": [number] * 3, "text": ["ä", None, "b" * number], "kind": kinds}, SCHEMA)


def folders(parent: Path) -> list[Path]:
    return [path for path in parent.iterdir() if path.is_dir()]


def test_batches_are_found_by_number_and_in_order_whoever_writes_first(tmp_path: Path) -> None:
    with Scratch(tmp_path) as scratch, ThreadPoolExecutor(4) as pool:
        file = scratch.file(SCHEMA)
        list(pool.map(lambda n: file.add(n % 3, table(n), order=n), reversed(range(30))))
        assert file.numbers() == [0, 1, 2]
        for number in range(3):
            expected = pa.concat_tables([table(n) for n in range(number, 30, 3)])
            assert file.read(*file.places(number)).equals(expected)
            assert sum(place.rows for place in file.places(number)) == 30
        assert file.read(*file.places(7)).equals(SCHEMA.empty_table())


def test_a_file_that_was_cut_short_is_an_error(tmp_path: Path) -> None:
    file = BatchFile(tmp_path / "x", SCHEMA)
    file.add(0, table(1))
    with (tmp_path / "x").open("r+b") as raw:
        raw.truncate(100)
    with pytest.raises(OSError, match="ends before byte"):
        file.read(*file.places(0))
    file.close()


def test_the_folder_is_made_for_the_first_file_and_removed_in_the_end(tmp_path: Path) -> None:
    with Scratch(tmp_path / "made") as scratch:
        assert not (tmp_path / "made").exists()
        scratch.file(SCHEMA)
        scratch.file(SCHEMA)
        assert len(folders(tmp_path / "made")) == 1
    assert folders(tmp_path / "made") == []


def test_what_a_killed_process_has_left_goes_with_the_next_and_what_one_still_uses_stays(tmp_path: Path) -> None:
    holders = [
        subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for holder in holders:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "written\n"
    assert len(folders(tmp_path)) == 2
    holders[0].kill()
    holders[0].wait()
    with Scratch(tmp_path) as scratch:
        scratch.file(SCHEMA)
        assert len(folders(tmp_path)) == 2
    assert len(folders(tmp_path)) == 1
    holders[1].kill()
    holders[1].wait()
    with Scratch(tmp_path):
        assert folders(tmp_path) == []
