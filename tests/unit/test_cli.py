"""The command line without a stack: what it imports, and how it speaks of what is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from feature_store.cli import main
from feature_store.local import checks, stack
from feature_store.local.checks import run_checks
from feature_store.local.stack import Reporter
from feature_store.registry import commands
from feature_store.stack_file import Identity, StackRecord
from feature_store.stack_settings import StackSettings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FS_HOME", str(tmp_path))
    return tmp_path


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from feature_store.cli import main; main(['--help'], standalone_mode=False);"
        "heavy = {'rich', 'psutil', 'sqlalchemy', 'redis', 'psycopg2', 'pyarrow', 'pyspark', 'dagster', 'jgo'};"
        "print('imported:', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "imported: []" in done.stdout
    assert all(command in done.stdout for command in ("up", "down", "status", "logs", "reset", "demo", "test", "lock"))


def test_an_error_is_one_line_and_no_traceback(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FS_PORT", "eighty")
    answer = CliRunner().invoke(main, ["up"])
    assert answer.exit_code == 1
    assert answer.stderr == "fs: FS_PORT: 'eighty' is not a port -> write a number from 1024 to 65000 [port]\n"


def test_a_stack_that_is_not_running(home: Path) -> None:
    status = CliRunner().invoke(main, ["status"])
    assert (status.exit_code, status.stdout) == (1, "the stack is not running -> ./fs up\n")
    assert CliRunner().invoke(main, ["down"]).stdout == "nothing was running\n"


def test_reset_asks_and_keeps_what_was_installed(home: Path) -> None:
    for folder in ("postgres", "warehouse", "venv", "jars"):
        (home / folder).mkdir()
        (home / folder / "file").write_text("x" * 1_000_000)
    refused = CliRunner().invoke(main, ["reset"], input="n\n")
    assert refused.exit_code == 1
    assert f"{home / 'warehouse'}  1 MiB" in refused.stdout
    assert "Stop the stack and delete these folders? [y/N]" in refused.stdout
    assert (home / "postgres" / "file").exists()

    assert CliRunner().invoke(main, ["reset", "--yes"]).exit_code == 0
    assert sorted(entry.name for entry in home.iterdir() if entry.is_dir()) == ["jars", "venv"]


def test_logs_show_the_end_of_one_or_all(home: Path) -> None:
    (home / "logs").mkdir()
    (home / "logs" / "valkey.log").write_text("".join(f"line {number}\n" for number in range(10)))
    (home / "logs" / "postgres.log").write_text("ready\n")
    assert CliRunner().invoke(main, ["logs", "valkey", "-n", "2"]).stdout == "line 8\nline 9\n"
    assert (
        CliRunner().invoke(main, ["logs", "-n", "1"]).stdout
        == "         postgres | ready\n           valkey | line 9\n"
    )
    unknown = CliRunner().invoke(main, ["logs", "kafka"])
    assert unknown.exit_code == 1
    assert "there is no log of 'kafka' -> logs: postgres, valkey" in unknown.stderr


SHOP = """\
from feature_store import STRING, TIMESTAMP, Entity, Feature, FeatureGroup, agg, INT
from feature_store.dsl.source import BatchSource, StreamSource
user = Entity("user", join_key="user_id", dtype=STRING)
schema = {"user_id": STRING, "ts": TIMESTAMP}
clicks = SOURCE
counts = FeatureGroup("counts", entity=user, source=clicks, owner="team:x", features=[
    Feature("user_click_count_1h", agg.count(), window="1h", dtype=INT)])
"""
SOURCES = {
    "BatchSource('clicks', table='raw.clicks', schema=schema, event_timestamp='ts')": False,
    "StreamSource('clicks', topic='clicks', schema=schema, event_timestamp='ts')": True,
}


@pytest.mark.parametrize(("source", "streams"), SOURCES.items())
@pytest.mark.parametrize(("option", "chosen"), [("", None), ("--streams", True), ("--no-streams", False)])
def test_streams_are_started_if_a_group_reads_one_or_the_user_says_so(
    home: Path, monkeypatch: pytest.MonkeyPatch, source: str, streams: bool, option: str, chosen: bool | None
) -> None:
    started = start_with(monkeypatch, home, SHOP.replace("SOURCE", source), option)
    assert started == [streams if chosen is None else chosen]


def test_definitions_with_a_mistake_do_not_keep_the_stack_down(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert start_with(monkeypatch, home, "import nothing_of_the_kind\n", "") == [False]


def start_with(monkeypatch: pytest.MonkeyPatch, home: Path, definitions: str, option: str) -> list[bool]:
    """What `up` asks the stack for, with these definitions."""
    package = f"defs_{abs(hash((definitions, option)))}"
    (home / package).mkdir()
    (home / package / "__init__.py").write_text(definitions)
    monkeypatch.syspath_prepend(home)
    monkeypatch.setattr(commands, "DEFINITIONS", package)
    started: list[bool] = []

    def up(settings: StackSettings, *, dagster: bool, streams: bool, report: Reporter) -> StackRecord:
        started.append(streams)
        myself = Identity.of(os.getpid())
        assert myself is not None
        return StackRecord("ready", myself, dagster)

    monkeypatch.setattr(stack, "up", up)
    answer = CliRunner().invoke(main, ["up", *([option] if option else [])])
    assert answer.exit_code == 0, answer.output
    return started


def test_checks_go_on_after_a_failure_and_keep_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    exits = {"first": 3, "second": 0}
    commands = {name: (sys.executable, "-c", f"raise SystemExit({code})") for name, code in exits.items()}
    monkeypatch.setattr(checks, "_LINTERS", commands)
    program = "import sys; print('ran', flush=True); raise SystemExit(5 if 'tests/unit' in sys.argv else 0)"
    monkeypatch.setattr(checks, "_PYTEST", (sys.executable, "-c", program))
    monkeypatch.setattr(checks, "_BESIDE", {"units": ("tests/unit",), "others": ("tests/others",)})
    told: list[str] = []
    assert run_checks([], told.append) == 5
    streams = "-- integration tests of streams (beside them units and others, which are shown after them)"
    assert told == ["-- first", "-- second", streams, "-- units", "ran\n", "-- others", "ran\n", "failed: first, units"]
