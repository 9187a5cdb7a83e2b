"""The programs that come inside Python packages: where they are, and whether they run on this machine."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

from feature_store.errors import StackError


def package_folder(package: str) -> Path:
    """The folder of an installed package, found without importing it: such packages do surprising things on import.

    Raises:
        StackError: if it is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise StackError(
            f"the Python package {package} is not installed",
            remedy="start through ./fs, which installs requirements/main.txt",
            code="missing-package",
        )
    return Path(spec.submodule_search_locations[0])


def check_runs(program: Path, *, option: str = "--version", remedy: str) -> str:
    """Runs a program for its version and gives what it printed.

    Raises:
        StackError: with the program's own words, if it is missing, was made for another machine, or lacks a library.
    """
    try:
        done = subprocess.run([str(program), option], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StackError(
            f"{program.name} does not run ({error})", where=str(program), remedy=remedy, code="program"
        ) from error
    words = done.stdout + done.stderr
    if done.returncode != 0:
        first = next((line for line in words.splitlines() if line.strip()), f"exit code {done.returncode}")
        raise StackError(
            f"{program.name} does not run ({first.removeprefix(f'{program}: ')})",
            where=str(program),
            remedy=remedy,
            code="program",
        )
    return words
