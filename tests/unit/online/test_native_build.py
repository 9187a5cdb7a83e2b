"""The native core is compiled once, whoever asks; where it cannot be, one line says so and Python answers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from feature_store.errors import StackError
from feature_store.online.native import loader
from feature_store.online.native.build import built_core
from feature_store.online.native.core import NativeCore
from feature_store.settings import REPOSITORY
from tests.conftest import OWN_STATE

BUILD = "import sys, pathlib; from feature_store.online.native.build import built_core; "
BUILD += "print(built_core(pathlib.Path(sys.argv[1])))"


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names no compiler."""
    monkeypatch.delenv("CXX", raising=False)


@pytest.mark.usefixtures("fresh")
def test_without_a_compiler_python_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    state = loader.open_core(tmp_path / "native")
    assert state.core is None
    assert state.trouble.endswith(
        "-> apt-get install g++ python3-dev (Debian, Ubuntu), and start the server again [native-core]"
    )
    assert "\n" not in state.trouble


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("compiler", ["false", "/nowhere/g++", "python3 -c raise"])
def test_a_compiler_that_fails_is_told_of_in_a_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, compiler: str
) -> None:
    monkeypatch.setenv("CXX", compiler)
    with pytest.raises(StackError) as error:
        built_core(tmp_path)
    assert error.value.code == "native-core"
    assert "\n" not in str(error.value)
    assert [each.name for each in tmp_path.iterdir()] == ["build.lock"]


@pytest.mark.usefixtures("fresh")
def test_a_folder_that_cannot_be_made_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    state = loader.open_core(tmp_path / "file" / "native")
    assert state.core is None
    assert "file" in state.trouble


@pytest.mark.usefixtures("fresh")
def test_what_is_no_module_is_no_failure(core: NativeCore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = tmp_path / built_core(OWN_STATE / "native").name
    module.write_bytes(b"half")
    assert loader.open_core(tmp_path).core is None
    assert loader.open_core(OWN_STATE / "native").core is not None


def test_of_two_at_once_one_compiles(tmp_path: Path) -> None:
    compiler = tmp_path / "compiler"
    compiler.write_text(
        f'#!/bin/sh\necho once >> {tmp_path}/calls\nwhile [ "$1" != -o ]; do shift; done\necho > "$2"\n'
    )
    compiler.chmod(0o755)
    given = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CXX": str(compiler)}
    folder = tmp_path / "native"
    command = [sys.executable, "-c", BUILD, str(folder)]
    both = [subprocess.Popen(command, env=given, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = [Path(each.communicate(timeout=300)[0].strip()) for each in both]
    assert paths[0] == paths[1]
    assert {each.name for each in folder.iterdir()} == {paths[0].name, "build.lock"}
    assert (tmp_path / "calls").read_text() == "once\n"
