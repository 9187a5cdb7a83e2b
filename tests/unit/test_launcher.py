"""The launcher `fs` on machines that lack something; a stand-in for the environment's Python shows what it starts."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from feature_store.settings import REPOSITORY

TOOLS = ("bash", "cat", "cp", "env", "flock", "mkdir", "readlink", "rm", "sh", "sleep")


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A folder of programs with neither Python nor uv."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for tool in TOOLS:
        if program := shutil.which(tool):
            (folder / tool).symlink_to(program)
    return folder


def launch(path: Path, home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(path), "FS_HOME": str(home), **variables}
    command = ["bash", str(REPOSITORY / "fs"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def current_environment(home: Path) -> None:
    program(home / "venv" / "bin" / "python", 'echo "$@"; echo "$FS_HOME|$PYTHONPATH|${PYTHONDONTWRITEBYTECODE-unset}"')
    shutil.copy(REPOSITORY / "requirements" / "main.txt", home / "venv" / "requirements.txt")


def test_a_current_environment_is_used_at_once(bare_path: Path, tmp_path: Path) -> None:
    home = tmp_path / "state folder"
    current_environment(home)
    done = launch(bare_path, home, "logs", "a b", PYTHONDONTWRITEBYTECODE="1", PYTHONPATH="/mine")
    assert done.stderr == ""
    assert done.stdout == f"-P -m feature_store.cli logs a b\n{home}|{REPOSITORY}:/mine|unset\n"


def test_it_finds_the_repository_through_links(bare_path: Path, tmp_path: Path) -> None:
    current_environment(tmp_path)
    (tmp_path / "first").symlink_to(REPOSITORY / "fs")
    (tmp_path / "second").symlink_to("first")
    environment = {"PATH": str(bare_path), "FS_HOME": str(tmp_path)}
    done = subprocess.run(["bash", str(tmp_path / "second"), "up"], env=environment, capture_output=True, text=True)
    assert done.stdout.startswith("-P -m feature_store.cli up\n")


def test_no_python_and_no_uv(bare_path: Path, tmp_path: Path) -> None:
    done = launch(bare_path, tmp_path, "up")
    assert done.returncode == 1
    assert done.stderr == (
        "fs: neither uv nor a Python 3.11 to 3.13 is on PATH"
        " -> install one of them (Debian, Ubuntu: apt-get install -y python3 python3-venv)\n"
    )


def test_an_old_python_is_none(bare_path: Path, tmp_path: Path) -> None:
    program(bare_path / "python3", "exit 1")
    assert "neither uv nor a Python" in launch(bare_path, tmp_path, "up").stderr
    chosen = launch(bare_path, tmp_path, "up", PYTHON="python3")
    assert chosen.returncode == 1
    assert chosen.stderr == (
        "fs: PYTHON=python3 is not a working Python 3.11 to 3.13 -> name another one, or unset PYTHON\n"
    )


def test_a_failed_installation_is_one_line_and_starts_nothing(bare_path: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    interpreter = home / "venv" / "bin" / "python"
    program(
        bare_path / "uv",
        f'case "$1" in venv) mkdir -p "{interpreter.parent}"; cp "{bare_path}/quiet" "{interpreter}" ;;\n'
        "*) printf 'Resolved 2 packages\\nerror: failed\\n  cause: first\\n  cause: no route\\n' >&2; exit 2 ;; esac",
    )
    program(bare_path / "quiet", "exit 0")
    done = launch(bare_path, home, "up", UV_DEFAULT_INDEX="http://127.0.0.1:1", HOME="/nonexistent")
    assert done.returncode == 1
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[-2:] == [
        "Resolved 2 packages",
        "fs: the Python packages could not be installed (no route) -> check the network, or name a package index that"
        " answers in UV_DEFAULT_INDEX; then run the same command again",
    ]
    assert not (home / "venv" / "requirements.txt").exists(), "the next call tries again"


def test_a_half_made_environment_is_made_again(bare_path: Path, tmp_path: Path) -> None:
    program(tmp_path / "venv" / "bin" / "python", "exit 1")
    program(
        bare_path / "uv", f'echo "$@" >> "{tmp_path}/calls"; test "$1" != pip || exit 0; mkdir -p "{tmp_path}/venv"'
    )
    done = launch(bare_path, tmp_path, "up", UV_DEFAULT_INDEX="http://127.0.0.1:1")
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[0].startswith("venv --no-project --clear --python >=3.11,<3.14 ")
    assert calls[1].startswith("pip sync --python ")
    assert (tmp_path / "venv" / "requirements.txt").read_text() == (
        REPOSITORY / "requirements" / "main.txt"
    ).read_text()
    assert done.returncode == 1, "the stand-in for Python"


def test_a_state_folder_that_cannot_be_made(bare_path: Path) -> None:
    done = launch(bare_path, Path("/dev/null/fs"), "up")
    assert done.stderr == "fs: the state folder /dev/null/fs cannot be written -> set FS_HOME to a folder of your own\n"
