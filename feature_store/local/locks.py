"""Regenerates the hash-pinned requirement files from pyproject.toml, without any index address in them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from feature_store.errors import StackError
from feature_store.settings import REPOSITORY


@dataclass(frozen=True)
class Lock:
    """One requirements file: the dependency groups it locks, or the requirements themselves."""

    file: str
    groups: tuple[str, ...] = ()
    requirements: str = ""


LOCKS = (
    Lock("requirements/main.txt", groups=("main", "dev")),
    Lock("requirements/flink.txt", groups=("flink",)),
    Lock("requirements/feast.txt", requirements="feast[duckdb,redis,spark]==0.67.0\n"),  # of benchmarks alone
    Lock("requirements/uv.txt", requirements="uv==0.13.8\n"),  # the tool itself, for machines without it
)


def lock_all(home: Path, tell: Callable[[str], None]) -> None:
    """Resolves each file anew, keeping pinned versions that still fit.

    Raises:
        StackError: if uv is missing or cannot resolve.
    """
    uv = find_uv(home)
    for lock in LOCKS:
        tell(f"locking {lock.file}")
        groups = [word for group in lock.groups for word in ("--group", group)]
        command = [uv, "pip", "compile", "pyproject.toml" if groups else "-", *groups]
        command += ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-emit-index-url"]
        command += ["--custom-compile-command", "./fs lock", "--quiet", "--output-file", lock.file]
        if subprocess.run(command, cwd=REPOSITORY, input=lock.requirements, text=True, check=False).returncode:
            raise StackError(
                "uv could not resolve it (its reason is above)",
                where=lock.file,
                remedy="correct pyproject.toml",
                code="lock",
            )


def find_uv(home: Path) -> str:
    """uv on PATH, or the one that the launcher installed.

    Raises:
        StackError: if there is neither.
    """
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), str(home / "bootstrap" / "bin")])
    program = shutil.which("uv", path=search)
    if program is None:
        raise StackError("uv is not on PATH", remedy="install uv", code="lock")
    return program
