"""A supervised child, with small programs for servers: crashes, pauses, giving up; and programs that do not run."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from feature_store.errors import StackError
from feature_store.local import service as service_module
from feature_store.local.programs import check_runs, package_folder
from feature_store.local.service import MOST_CRASHES, Child, Service
from tests.conftest import Eventually


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "FIRST_PAUSE_SECONDS", 0.001)


def child_of(home: Path, script: str, ready: Callable[[], bool], **options: float) -> Child:
    (home / "logs").mkdir(exist_ok=True)
    command = (sys.executable, "-S", "-c", script)
    return Child(Service(name="program", command=command, folder=home, port=None, ready=ready, **options), home)


def step_until(child: Child, state: str, eventually: Eventually) -> None:
    def moved() -> bool:
        child.step()
        return child.state == state

    eventually(moved)


def test_it_gives_up_after_crashing_again_and_again(tmp_path: Path, eventually: Eventually) -> None:
    script = "import sys; print('starting'); print('FATAL: no such thing'); print('bye'); sys.exit(7)"
    child = child_of(tmp_path, script, ready=lambda: False)
    child.start()
    step_until(child, "failed", eventually)
    assert child.message == "ended with exit code 7: FATAL: no such thing"
    assert child.restarts == MOST_CRASHES - 1
    assert child.record().process is None


def test_it_is_started_again_after_a_crash(tmp_path: Path, eventually: Eventually) -> None:
    script = (
        "import os, pathlib, time\n"
        "first = not pathlib.Path('ran').exists()\n"
        "pathlib.Path('ran').touch()\n"
        "if first: os.kill(os.getpid(), 9)\n"
        "time.sleep(60)"
    )
    child = child_of(tmp_path, script, ready=lambda: child.restarts == 1)
    child.start()
    try:
        step_until(child, "ready", eventually)
        assert child.message == ""
    finally:
        child.ask_to_stop()
        child.wait_stopped()
    assert child.state == "stopped"


def test_one_that_does_not_answer_is_killed(tmp_path: Path, eventually: Eventually) -> None:
    child = child_of(tmp_path, "import time; time.sleep(60)", ready=lambda: False, start_seconds=0.05)
    child.start()
    step_until(child, "restarting", eventually)
    assert child.message == "did not answer within 0 s"


def test_one_that_does_not_stop_is_killed(tmp_path: Path, eventually: Eventually) -> None:
    deaf = (
        "import pathlib, signal, time; signal.signal(15, signal.SIG_IGN); pathlib.Path('deaf').touch(); time.sleep(60)"
    )
    child = child_of(tmp_path, deaf, ready=(tmp_path / "deaf").exists, stop_seconds=0.05)
    child.start()
    step_until(child, "ready", eventually)
    process = child.record().process
    child.ask_to_stop()
    child.wait_stopped()
    assert process is not None
    assert not process.is_running()


def test_a_crash_is_described_by_its_signal(tmp_path: Path, eventually: Eventually) -> None:
    child = child_of(tmp_path, "import os; os.kill(os.getpid(), 9)", ready=lambda: False)
    child.start()
    step_until(child, "restarting", eventually)
    assert child.message == f"was ended by {signal.SIGKILL.name}"


def test_a_program_of_another_machine_is_named(tmp_path: Path) -> None:
    program = tmp_path / "server"
    program.write_bytes(b"\x7fELF of somebody else")
    program.chmod(0o755)
    with pytest.raises(StackError, match=r"server does not run \(.*Exec format error.* -> use another"):
        check_runs(program, remedy="use another")


def test_a_missing_library_is_named_in_the_loaders_words(tmp_path: Path) -> None:
    words = "error while loading shared libraries: libz.so.1: cannot open shared object file"
    program = tmp_path / "postgres"
    program.write_text(f"#!/bin/sh\necho '{program}: {words}' >&2\nexit 127\n")
    program.chmod(0o755)
    with pytest.raises(StackError) as failure:
        check_runs(program, remedy="install it")
    assert str(failure.value) == f"{program}: postgres does not run ({words}) -> install it [program]"


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(StackError, match=r"no_such_package is not installed -> start through \./fs"):
        package_folder("no_such_package")
