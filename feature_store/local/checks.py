"""Everything that has to hold before a change is good: style, types, layers, tests. The same here and in CI."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO

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
_STREAMING = "tests/integration/streaming"
_STREAMS = "integration tests of streams"
_FIRST = "test_stream_faults.py"
"""It has a stack of its own, so it runs before the stack of the other tests takes its share of the machine."""
_WITH_UNITS = tuple(f"tests/integration/test_{name}.py" for name in ("demo", "engines", "late_rows", "reconcile"))
_BESIDE = {
    "unit tests, the demo, engines, late rows and reconciles": ("tests/unit", *_WITH_UNITS),
    "other integration tests and the simulation": (
        "tests/integration",
        *(f"--ignore={path}" for path in (_STREAMING, *_WITH_UNITS)),
        "tests/simulation",
    ),
}
"""The parts of the tests, which take about as long as each other, each with a stack of its own."""


def run_checks(arguments: Sequence[str], tell: Callable[[str], None]) -> int:
    """Runs all checks, to the end even if one fails; with arguments only pytest, which gets them.

    The parts of the tests run beside each other and beside the linters: they wait for services much of the time.

    Returns:
        0 if everything passed, else the exit code of the last check that did not.
    """
    if arguments:
        return _run((*_PYTEST, *arguments))
    codes: dict[str, int] = {}
    with ExitStack() as files, ThreadPoolExecutor() as pool:
        logs = {part: files.enter_context(TemporaryFile()) for part in _BESIDE}
        beside = {part: pool.submit(_run, (*_PYTEST, *_BESIDE[part]), log) for part, log in logs.items()}
        for name, command in _LINTERS.items():
            tell(f"-- {name}")
            codes[name] = _run(command)
        tell(f"-- {_STREAMS} (beside them {' and '.join(_BESIDE)}, which are shown after them)")
        streams = sorted((REPOSITORY / _STREAMING).glob("test_*.py"), key=lambda file: (file.name != _FIRST, file.name))
        codes[_STREAMS] = _run((*_PYTEST, *map(str, streams)))
        for part, log in logs.items():
            codes[part] = beside[part].result()
            log.seek(0)
            tell(f"-- {part}")
            tell(log.read().decode(errors="replace"))
    failed = {name: code for name, code in codes.items() if code}
    if failed:
        tell(f"failed: {', '.join(failed)}")
    return list(failed.values())[-1] if failed else 0


def _run(command: Sequence[str], output: IO[bytes] | None = None) -> int:
    """Runs one check; Dagster gets an empty home, because its own settings name databases that need not run."""
    with TemporaryDirectory() as home:
        environment = {**os.environ, "DAGSTER_HOME": home}
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, stdout=output, stderr=output, check=False)
        return done.returncode
