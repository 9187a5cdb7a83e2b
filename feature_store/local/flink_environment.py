"""Flink's own Python environment: its packages and those of the main environment cannot be installed together.

Made like the main one, which the launcher `fs` makes: by uv from a hash-pinned file, with a copy of that file as the
sign that it is complete.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from feature_store.errors import StackError
from feature_store.local import bootstrap
from feature_store.local.locks import find_uv
from feature_store.settings import REPOSITORY

REQUIREMENTS = REPOSITORY / "requirements" / "flink.txt"
NEWEST_PYTHON = (3, 12)
"""Flink's packages have no wheels for later ones."""


def install(home: Path, note: Callable[[str], None]) -> Path:
    """Makes or updates `<home>/flink-venv`; does nothing if it is current.

    Args:
        home: the state folder.
        note: told before something is installed, since that takes its time.

    Returns:
        Its Python.

    Raises:
        StackError: with uv's reason, if it cannot be made.
    """
    python = python_of(home)
    folder = python.parents[1]
    marker = folder / REQUIREMENTS.name
    home.mkdir(parents=True, exist_ok=True)
    with (home / "flink-venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_current(python, marker):
            return python
        uv, environment = _uv(home), _uv_settings(home)
        if not (python.exists() and marker.exists()):  # none, or a half-made one
            note(f"making the Python environment of Flink in {folder}")
            command = [uv, "venv", "--no-project", "--clear", "--python", _interpreter(), str(folder)]
            _run(command, environment, remedy="install a Python 3.11 or 3.12, or set FS_FLINK_PYTHON")
        marker.unlink(missing_ok=True)
        note("installing the packages of Flink; with an empty package cache this takes a minute or two")
        _run(
            [uv, "pip", "sync", "--python", str(python), "--require-hashes", str(REQUIREMENTS)],
            environment,
            remedy="check the network, or name a package index that answers in UV_DEFAULT_INDEX",
        )
        shutil.copyfile(REQUIREMENTS, marker)
    return python


def python_of(home: Path) -> Path:
    """The Python of the environment of a state folder."""
    return home / "flink-venv" / "bin" / "python"


def package_of(python: Path) -> Path:
    """The folder of the package pyflink: Flink's own distribution with its jars.

    Raises:
        StackError: if that Python does not run or lacks it.
    """
    script = "import importlib.util as u; print(u.find_spec('pyflink').submodule_search_locations[0])"
    try:
        done = subprocess.run([str(python), "-c", script], capture_output=True, text=True, check=False, cwd="/")
    except OSError as error:
        raise StackError(
            f"it does not run ({error})", where=str(python), remedy="correct FS_FLINK_PYTHON", code="flink-python"
        ) from error
    if done.returncode:
        raise StackError(
            "this Python has no package pyflink",
            where=str(python),
            remedy="install apache-flink 2.1 there, or unset FS_FLINK_PYTHON to get an environment of our own",
            code="flink-python",
        )
    return Path(done.stdout.strip())


def _is_current(python: Path, marker: Path) -> bool:
    return python.exists() and marker.exists() and marker.read_bytes() == REQUIREMENTS.read_bytes()


def _uv(home: Path) -> str:
    try:
        return find_uv(home)
    except StackError:
        try:
            bootstrap.install(REPOSITORY / "requirements" / "uv.txt", home / "bootstrap")
        except bootstrap.BootstrapError as error:
            raise StackError(str(error), code="flink-environment") from error
        return find_uv(home)


def _uv_settings(home: Path) -> dict[str, str]:
    """What the launcher sets for uv too: a cache that can be written, and pip's index and certificates."""
    environment = {**os.environ, "TMPDIR": str(home / "tmp")}
    (home / "tmp").mkdir(exist_ok=True)
    usual = Path(_variable("XDG_CACHE_HOME") or Path(_variable("HOME") or "/nonexistent") / ".cache") / "uv"
    if not _is_writable(Path(_variable("UV_CACHE_DIR") or usual)):
        environment["UV_CACHE_DIR"] = str(home / "cache" / "uv")
    if not (_variable("UV_DEFAULT_INDEX") or _variable("UV_INDEX_URL")) and (
        index := bootstrap.configured_index(os.environ)
    ):
        environment["UV_DEFAULT_INDEX"] = index
    if _variable("PIP_CERT") and not _variable("SSL_CERT_FILE"):
        environment["SSL_CERT_FILE"] = _variable("PIP_CERT")
    return environment


def _variable(variable: str) -> str:
    return os.environ.get(variable, "")


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _interpreter() -> str:
    """Our own, if Flink's packages know it, else whichever uv finds."""
    return sys.executable if sys.version_info[:2] <= NEWEST_PYTHON else ">=3.11,<3.13"


def _run(command: Sequence[str], environment: dict[str, str], remedy: str) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        words = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        causes = [line for line in words if line.lower().startswith(("error: ", "cause: ", "caused by: "))]
        reason = (causes or words or [f"exit code {done.returncode}"])[-1]
        raise StackError(
            f"the Python environment of Flink could not be made ({reason})", remedy=remedy, code="flink-environment"
        )
