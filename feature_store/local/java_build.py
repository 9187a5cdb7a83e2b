"""What is written in Java: compiled on this machine, since only its sources are in the repository.

The compiler is Eclipse's, a jar that runs on any Java; the Java of the stack has none of its own.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from feature_store.errors import StackError
from feature_store.local.processes import MARK
from feature_store.settings import REPOSITORY

KERNEL = REPOSITORY / "feature_store" / "streaming" / "kernel"
"""Our functions for Flink."""
LOCAL_FILES = REPOSITORY / "feature_store" / "offline" / "local_files"
"""The files of this machine, as Hadoop sees them."""
OPTIONS = ("-source", "17", "-target", "17", "-parameters", "-nowarn", "-proc:none", "-encoding", "UTF-8", "-Xemacs")
"""`-parameters` keeps the names of arguments, which Flink takes for those of its functions."""

_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


def build_jar(java_home: Path, ecj: Path, classpath: Sequence[Path], sources: Path, folder: Path) -> Path:
    """Compiles a folder of Java sources into a jar of its name and a hash; does nothing if that is there already.

    Args:
        java_home: the Java to run the compiler on, and to compile for.
        ecj: the compiler.
        classpath: jars that the sources use.
        sources: the folder of `*.java`, at any depth, and of `META-INF/services`, if there is one.
        folder: where the jar is put.

    Raises:
        StackError: with the compiler's words, if the sources are wrong.
    """
    jar = folder / _name(sources)
    if jar.exists():
        return jar
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".java-") as work:
        classes = Path(work) / "classes"
        command = [str(java_home / "bin" / "java"), "-XX:TieredStopAtLevel=1", "-jar", str(ecj), *OPTIONS]
        command += ["-cp", os.pathsep.join(map(str, classpath)), "-d", str(classes), *map(str, _files(sources))]
        environment = {**os.environ, MARK: str(folder.parent)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            raise StackError(
                f"the Java sources do not compile ({_first_error(done.stdout + done.stderr)})",
                where=str(sources),
                remedy="correct them, or take the sources of a release",
                code="java-build",
            )
        half = Path(work) / jar.name
        for file in _registrations(sources):
            target = classes / file.relative_to(sources)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        _pack(classes, half)
        shutil.move(half, jar)
    return jar


def is_outdated(jar: str, sources: Path) -> bool:
    """Whether a jar of an earlier stack was compiled from other sources than those there are now."""
    return Path(jar).name != _name(sources)


def _name(sources: Path) -> str:
    """The jar's name has in it what the jar depends on: the sources and how they are compiled."""
    files = _files(sources)
    if not files:
        raise StackError(
            "there are no Java sources",
            where=str(sources),
            remedy="restore the folder",
            code="java-build",
        )
    digest = hashlib.sha256(" ".join(OPTIONS).encode())
    for file in [*files, *_registrations(sources)]:
        content = file.read_bytes()
        digest.update(f"\0{file.relative_to(sources).as_posix()} {len(content)}\0".encode())
        digest.update(content)
    return f"{sources.name}-{digest.hexdigest()[:16]}.jar"


def _files(sources: Path) -> list[Path]:
    return sorted(sources.rglob("*.java"))


def _registrations(sources: Path) -> list[Path]:
    """The files that tell Java's service loader of our classes; they are in the jar as they are."""
    return sorted((sources / "META-INF" / "services").glob("*"))


def _pack(classes: Path, jar: Path) -> None:
    """The same bytes for the same classes: times are left out, names are sorted."""
    with zipfile.ZipFile(jar, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(path for path in classes.rglob("*") if path.is_file()):
            archive.writestr(zipfile.ZipInfo(file.relative_to(classes).as_posix(), _ZIP_TIME), file.read_bytes())


def _first_error(words: str) -> str:
    lines = [" ".join(line.split()) for line in words.splitlines() if line.strip()]
    errors = [line for line in lines if " error: " in line]
    more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    return (errors or lines or ["no reason given"])[0] + more
