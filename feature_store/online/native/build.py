"""Compiles the native core on this machine: once for each state of its sources and each Python."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

from feature_store.errors import StackError

SOURCES = Path(__file__).parent
MODULE = "feature_store_core"
COMPILER = "CXX"
"""The variable of the environment that names another compiler than g++ or c++."""
OPTIONS = ("-O2", "-std=c++17", "-shared", "-fPIC", "-fvisibility=hidden", "-fno-strict-aliasing")
_BUILD_SECONDS = 300
_REMEDY = "apt-get install g++ python3-dev (Debian, Ubuntu), and start the server again"


def built_core(folder: Path) -> Path:
    """The compiled module in a folder; compiles it first if it is not there.

    Of several processes that start at once one compiles, and the others wait for it.

    Raises:
        StackError: if there is no compiler, no Python.h, or it does not compile.
        OSError: if the folder cannot be written.
    """
    module = folder / _file_name()
    if module.exists():
        return module
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not module.exists():
            _compile(module)
    return module


def _compile(module: Path) -> None:
    compiler = _compiler()
    headers = Path(sysconfig.get_paths()["include"])
    if not (headers / "Python.h").exists():
        raise _error(f"{headers} has no Python.h", str(headers))
    with tempfile.TemporaryDirectory(dir=module.parent, prefix=".build-") as work:
        half = Path(work) / module.name
        command = [*compiler, *OPTIONS, f"-I{headers}", str(SOURCES / "core.cpp"), "-o", str(half)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_BUILD_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _error(f"{compiler[0]} does not work: {error}", compiler[0]) from None
        if done.returncode:
            raise _error(f"{compiler[0]} cannot compile it: {_first_error(done.stderr)}", str(SOURCES))
        half.replace(module)


def _compiler() -> list[str]:
    named = os.environ.get(COMPILER, "")
    if named:
        return shlex.split(named)
    found = shutil.which("g++") or shutil.which("c++")
    if found is None:
        raise _error("neither g++ nor c++ is on PATH", "PATH")
    return [found]


def _file_name() -> str:
    """The name has in it what the module depends on: the sources, how they are compiled, and Python."""
    digest = hashlib.sha256(" ".join(OPTIONS).encode())
    for file in sorted([*SOURCES.glob("*.cpp"), *SOURCES.glob("*.hpp")]):
        content = file.read_bytes()
        digest.update(f"\0{file.name} {len(content)}\0".encode())
        digest.update(content)
    return f"{MODULE}-{digest.hexdigest()[:16]}{sysconfig.get_config_var('EXT_SUFFIX')}"


def _first_error(words: str) -> str:
    lines = [" ".join(line.split()) for line in words.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line]
    return (errors or lines or ["no reason given"])[0][:300]


def _error(why: str, where: str) -> StackError:
    return StackError(f"there is no native core: {why}", where=where, remedy=_REMEDY, code="native-core")
