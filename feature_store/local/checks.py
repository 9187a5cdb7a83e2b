"""Everything that has to hold before a change is good: style, types, layers, tests. The same here and in CI."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
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
    failed: dict[str, int] = {}
    for name, command in _LINTERS.items():
        tell(f"-- {name}")
        failed[name] = _run(command)
    with TemporaryDirectory() as folder:
        failed |= _run_tests(Path(folder), tell)
    failed = {name: code for name, code in failed.items() if code}
    if failed:
        tell(f"failed: {', '.join(failed)}")
    return list(failed.values())[-1] if failed else 0


def _run_tests(folder: Path, tell: Callable[[str], None]) -> dict[str, int]:
    """Runs the unit tests beside the integration tests, which wait for services most of the time; both count."""
    measured = ("--cov=feature_store", "--cov-report=", "--cov-fail-under=0")
    log, parts = folder / "output", [folder / name for name in ("unit", "integration")]
    with log.open("wb") as output:
        command = (*_PYTEST, *measured, "tests/unit")
        environment = {**os.environ, "COVERAGE_FILE": str(parts[0])}
        unit = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=output, stderr=output)
        try:
            tell("-- pytest tests/integration (tests/unit run beside them, and are shown after them)")
            integration = _run((*_PYTEST, *measured, "tests/integration"), COVERAGE_FILE=str(parts[1]))
        finally:
            unit_code = unit.wait()
    tell("-- pytest tests/unit")
    tell(log.read_text(encoding="utf-8", errors="replace"))
    tell("-- coverage")
    data = f"--data-file={folder / 'both'}"
    coverage = (_PYTHON, "-m", "coverage")
    code = _run((*coverage, "combine", data, *map(str, parts))) or _run((*coverage, "report", data))
    return {"integration tests": integration, "unit tests": unit_code, "coverage": code}


def _run(command: Sequence[str], **variables: str) -> int:
    """Runs one check; Dagster gets an empty home, because its own settings name databases that need not run."""
    with TemporaryDirectory() as home:
        environment = {**os.environ, "DAGSTER_HOME": home, **variables}
        return subprocess.run(command, cwd=REPOSITORY, env=environment, check=False).returncode
