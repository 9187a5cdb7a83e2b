"""The Java libraries of `jars.lock`: downloaded by Python, verified by sha256, continued where a download broke off.

Java downloads nothing itself: it does not know the machine's certificate authorities. The repository's address is not
written here; the resolver library jgo knows it, unless FS_JAR_MIRROR names another one.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from feature_store.errors import StackError
from feature_store.settings import REPOSITORY

LOCK_FILE = REPOSITORY / "jars.lock"
ATTEMPTS = 4
PAUSE_SECONDS = 0.3
TIMEOUT_SECONDS = 60
CHUNK_BYTES = 1 << 18
PARALLEL = 4

Progress = Callable[[str, int, int], None]
"""Told (file name, bytes so far, bytes in all) while a jar arrives; may be called from several threads."""


@dataclass(frozen=True)
class Jar:
    """One line of `jars.lock`: Maven coordinates, what the file must be, and the engines that need it.

    A `version` may be followed by a classifier, `5.2.0:exec`: another file of the same library.
    """

    group: str
    artifact: str
    version: str
    sha256: str
    size: int
    groups: frozenset[str]

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version.replace(':', '-')}.jar"

    @property
    def maven_path(self) -> str:
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version.partition(':')[0]}/{self.file_name}"


def read_lock(path: Path = LOCK_FILE) -> tuple[Jar, ...]:
    """All jars of a lock file; its lines are `group:artifact:version sha256 size groups`, the groups with commas.

    Raises:
        StackError: naming the line, if one is not like that.
    """
    return tuple(
        _parse(line, f"{path.name}:{number}")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if line.strip() and not line.startswith("#")
    )


def select(jars: Sequence[Jar], group: str) -> tuple[Jar, ...]:
    """Those that one engine needs ("spark", "flink", "kafka"), a warehouse in a bucket ("s3"), or tests alone do."""
    return tuple(jar for jar in jars if group in jar.groups)


def fetch(jars: Sequence[Jar], folder: Path, mirror: str, progress: Progress) -> tuple[Path, ...]:
    """Makes sure that the jars are in a folder, whole and unchanged; downloads those that are not.

    Args:
        jars: what is wanted.
        folder: where they are kept; several state folders may share it.
        mirror: a repository in Maven layout to fetch from; empty for the resolver's own.
        progress: told about downloads only.

    Returns:
        Their paths, in the order of `jars`.

    Raises:
        StackError: if the repository cannot be reached, lacks a jar, or has another one than was locked.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _alone_in(folder):
        missing = [jar for jar in jars if not _is_intact(folder / jar.file_name, jar)]
        if missing:
            repository = mirror or _known_repository(folder)
            context = _trust()
            with ThreadPoolExecutor(PARALLEL) as pool:
                list(pool.map(lambda jar: _download(jar, folder, repository, context, progress), missing))
    return tuple(folder / jar.file_name for jar in jars)


def _parse(line: str, where: str) -> Jar:
    try:
        coordinates, sha256, size, groups = line.split()
        group, artifact, version = coordinates.split(":", 2)
        return Jar(group, artifact, version, sha256, int(size), frozenset(groups.split(",")))
    except ValueError as error:
        raise StackError(
            "is not a line 'group:artifact:version sha256 size groups'",
            where=where,
            remedy="restore the file",
            code="jars-lock",
        ) from error


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Waits until no other process is downloading into the folder."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_intact(path: Path, jar: Jar) -> bool:
    if not path.is_file() or path.stat().st_size != jar.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == jar.sha256


def _known_repository(folder: Path) -> str:
    from jgo.maven import MavenContext  # only when something is missing

    return next(iter(MavenContext(repo_cache=folder).remote_repos.values())).rstrip("/")


def _trust() -> ssl.SSLContext:
    """The machine's certificate authorities and Python's bundled ones: a bare machine may have only these."""
    import certifi

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _download(jar: Jar, folder: Path, repository: str, context: ssl.SSLContext, progress: Progress) -> None:
    """Gets one jar into a `.part` file, continuing an earlier one, and puts it in place when its sha256 is right."""
    part = folder / f"{jar.file_name}.part"
    url = f"{repository}/{jar.maven_path}"
    reason = ""
    for attempt in range(ATTEMPTS):
        time.sleep(attempt * PAUSE_SECONDS)
        try:
            _continue_download(jar, part, url, context, progress)
        except urllib.error.HTTPError as error:
            reason = f"the server answers {error.code} {error.reason}"
            if error.code < 500 and error.code not in (408, 416, 429):
                break
            if error.code == 416:  # our part is longer than their file
                part.unlink(missing_ok=True)
            continue
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", "") or error or type(error).__name__)
            continue
        if part.stat().st_size < jar.size:
            reason = "the connection ended early"
        elif _is_intact(part, jar):
            part.replace(folder / jar.file_name)
            return
        else:
            reason = "what arrived is not the file whose sha256 is in jars.lock"
            part.unlink()
    raise StackError(
        f"{jar.file_name} could not be downloaded ({reason})",
        where=f"{jar.group}:{jar.artifact}:{jar.version}",
        remedy="check the network, or set FS_JAR_MIRROR to a Maven repository; what has arrived is kept",
        code="download",
    )


def _continue_download(jar: Jar, part: Path, url: str, context: ssl.SSLContext, progress: Progress) -> None:
    present = part.stat().st_size if part.exists() else 0
    if present >= jar.size:  # complete, or longer than it may be: the check of its sha256 decides
        return
    request = urllib.request.Request(url, headers={"Range": f"bytes={present}-"} if present else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS, context=context) as answer:
        if answer.status != 206:  # a server that knows no ranges starts from the beginning
            present = 0
        with part.open("ab" if present else "wb") as file:
            while present <= jar.size and (chunk := answer.read(CHUNK_BYTES)):
                file.write(chunk)
                present += len(chunk)
                progress(jar.file_name, present, jar.size)
