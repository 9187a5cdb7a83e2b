"""Downloads against a repository on this machine that truncates, lies, forgets ranges or is gone."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from feature_store.errors import StackError
from feature_store.local import jars, stack
from feature_store.local.jars import Jar, fetch, read_lock, select
from feature_store.stack_settings import StackSettings

CONTENT = bytes(range(256)) * 4_000
PATH = "/org/example/lib/1.0/lib-1.0.jar"
JAR = Jar("org.example", "lib", "1.0", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), frozenset({"spark"}))

GROUPS = ("kafka", "flink")
Behaviour = Callable[[bytes], bytes]


@dataclass
class Repository:
    """A Maven repository of one jar. `behaviours` change the next answers, one each."""

    url: str
    behaviours: list[Behaviour] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    knows_ranges: bool = True


@pytest.fixture
def repository() -> Iterator[Repository]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            served.requests.append(wanted)
            if self.path != PATH:
                self.send_error(404)
                return
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and served.knows_ranges else 0
            body = CONTENT[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(served.behaviours.pop(0)(body) if served.behaviours else body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served = Repository(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jars, "PAUSE_SECONDS", 0.0)


def get(folder: Path, url: str, jar: Jar = JAR) -> Path:
    (path,) = fetch([jar], folder, url, lambda name, done, total: None)
    return path


def truncated(body: bytes) -> bytes:
    return body[: len(body) // 3]


def damaged(body: bytes) -> bytes:
    return b"\xff" + body[1:]


def test_a_jar_is_fetched_once(tmp_path: Path, repository: Repository) -> None:
    seen: list[tuple[str, int, int]] = []
    (path,) = fetch([JAR], tmp_path, repository.url, lambda *progress: seen.append(progress))
    assert path == tmp_path / "lib-1.0.jar"
    assert path.read_bytes() == CONTENT
    assert seen[-1] == ("lib-1.0.jar", len(CONTENT), len(CONTENT))
    assert get(tmp_path, repository.url) == path
    assert len(repository.requests) == 1
    assert [entry.name for entry in tmp_path.iterdir() if not entry.name.startswith(".")] == ["lib-1.0.jar"]


def test_a_broken_connection_is_continued_where_it_broke(tmp_path: Path, repository: Repository) -> None:
    repository.behaviours = [truncated, truncated]
    assert get(tmp_path, repository.url).read_bytes() == CONTENT
    first = len(CONTENT) // 3
    second = first + (len(CONTENT) - first) // 3
    assert repository.requests == ["", f"bytes={first}-", f"bytes={second}-"]


def test_what_an_earlier_run_has_fetched_is_continued(tmp_path: Path, repository: Repository) -> None:
    (tmp_path / "lib-1.0.jar.part").write_bytes(CONTENT[:1_000])
    assert get(tmp_path, repository.url).read_bytes() == CONTENT
    assert repository.requests == ["bytes=1000-"]


def test_a_server_without_ranges_starts_again(tmp_path: Path, repository: Repository) -> None:
    repository.knows_ranges = False
    (tmp_path / "lib-1.0.jar.part").write_bytes(b"something else")
    assert get(tmp_path, repository.url).read_bytes() == CONTENT


@pytest.mark.parametrize("part", [b"x" * 1_000, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 1)])
def test_a_wrong_beginning_is_thrown_away(tmp_path: Path, repository: Repository, part: bytes) -> None:
    (tmp_path / "lib-1.0.jar.part").write_bytes(part)
    assert get(tmp_path, repository.url).read_bytes() == CONTENT


@pytest.mark.parametrize("wrong", [CONTENT[:-1], b"\xff" + CONTENT[1:], b""])
def test_a_wrong_jar_is_noticed_and_fetched_again(tmp_path: Path, repository: Repository, wrong: bytes) -> None:
    (tmp_path / "lib-1.0.jar").write_bytes(wrong)
    assert get(tmp_path, repository.url).read_bytes() == CONTENT


def test_one_damaged_download_is_repeated(tmp_path: Path, repository: Repository) -> None:
    repository.behaviours = [damaged]
    assert get(tmp_path, repository.url).read_bytes() == CONTENT


def test_another_file_than_was_locked_is_refused(tmp_path: Path, repository: Repository) -> None:
    with pytest.raises(StackError) as failure:
        get(tmp_path, repository.url, replace(JAR, sha256="0" * 64))
    assert str(failure.value) == (
        "org.example:lib:1.0: lib-1.0.jar could not be downloaded"
        " (what arrived is not the file whose sha256 is in jars.lock)"
        " -> check the network, or set FS_JAR_MIRROR to a Maven repository; what has arrived is kept [download]"
    )
    assert not (tmp_path / "lib-1.0.jar").exists()


def test_a_missing_jar_is_not_asked_for_again(tmp_path: Path, repository: Repository) -> None:
    with pytest.raises(StackError, match="the server answers 404"):
        get(tmp_path, repository.url, replace(JAR, version="2.0"))
    assert len(repository.requests) == 1


def test_no_network_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=re.escape("Connection refused")) as failure:
        get(tmp_path, "http://127.0.0.1:1")
    assert "\n" not in str(failure.value)
    assert "check the network" in str(failure.value)


def test_a_classifier_names_another_file_of_a_library() -> None:
    jar = replace(JAR, version="1.0:exec")
    assert (jar.file_name, jar.maven_path) == ("lib-1.0-exec.jar", "org/example/lib/1.0/lib-1.0-exec.jar")


def test_the_lock_file_names_each_jar_once_with_its_engines() -> None:
    locked = read_lock()
    assert len({jar.file_name for jar in locked}) == len(locked)
    assert all(re.fullmatch("[0-9a-f]{64}", jar.sha256) for jar in locked)
    spark = {f"{jar.group}:{jar.artifact}" for jar in select(locked, "spark")}
    assert spark == {"org.apache.iceberg:iceberg-spark-runtime-4.1_2.13", "org.postgresql:postgresql"}
    assert [jar.artifact for jar in select(locked, "java")] == ["ecj"]
    clients = {group: {j.version for j in select(locked, group) if j.artifact == "kafka-clients"} for group in GROUPS}
    assert clients == {"kafka": {"4.2.1"}, "flink": {"4.2.1"}}, "the broker and Flink share one"


def test_only_a_warehouse_in_a_bucket_needs_the_client_of_aws() -> None:
    asked = [StackSettings.load({"FS_WAREHOUSE": place}) for place in ("file:///warehouse", "s3://bucket/warehouse")]
    plain, in_bucket = ({jar.artifact for jar in stack._always_needed(settings)} for settings in asked)
    assert in_bucket - plain == {"iceberg-aws-bundle"}
    assert plain >= {"iceberg-spark-runtime-4.1_2.13", "ecj"}


@pytest.mark.parametrize("line", ["a:b:1 00 12", "a:b 00 12 spark", "a:b:1 00 twelve spark"])
def test_a_wrong_line_of_the_lock_file_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "jars.lock").write_text(f"# comment\n\n{line}\n")
    with pytest.raises(StackError, match=r"^jars.lock:3: "):
        read_lock(tmp_path / "jars.lock")
