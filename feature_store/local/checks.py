"""Everything that has to hold before a change is good: style, types, layers, tests. The same here and in CI."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from tempfile import TemporaryDirectory

from feature_store.settings import REPOSITORY

_PYTHON = sys.executable
_LINTERS = {
    "ruff": (_PYTHON, "-m", "ruff", "check", "."),
    "ruff format": (_PYTHON, "-m", "ruff", "format", "--check", "."),
    "mypy": (_PYTHON, "-m", "mypy"),
    "dagster": (_PYTHON, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"),
    "import-linter": (_PYTHON, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"),
}
_PYTEST = (_PYTHON, "-m", "pytest")


def run_checks(arguments: Sequence[str], tell: Callable[[str], None]) -> int:
    """Runs all checks, to the end even if one fails; with arguments only pytest, which gets them.

    Returns:
        0 if everything passed, else the exit code of the last check that did not.
    """
    if arguments:
        return _run((*_PYTEST, *arguments))
    steps = {**_LINTERS, "pytest": (*_PYTEST, "--cov=feature_store", "tests/unit", "tests/integration")}
    failed: dict[str, int] = {}
    for name, command in steps.items():
        tell(f"-- {name}")
        if code := _run(command):
            failed[name] = code
    if failed:
        tell(f"failed: {', '.join(failed)}")
    return list(failed.values())[-1] if failed else 0


def _run(command: Sequence[str]) -> int:
    """Runs one check; Dagster gets an empty home, because its own settings name databases that need not run."""
    with TemporaryDirectory() as home:
        return subprocess.run(command, cwd=REPOSITORY, env={**os.environ, "DAGSTER_HOME": home}, check=False).returncode
