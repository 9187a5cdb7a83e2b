"""Fixtures of all tests. `stack` is the real thing: an embedded Postgres and Valkey of this session alone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import hypothesis
import pytest

from feature_store.local import flink_environment
from feature_store.local import stack as local_stack
from feature_store.online.native.build import built_core
from feature_store.online.native.core import NativeCore
from feature_store.online.native.loader import load_core
from feature_store.settings import Settings, state_folder
from feature_store.stack_file import StackRecord
from feature_store.stack_settings import StackSettings

hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")
os.environ.setdefault(
    "JAVA_TOOL_OPTIONS",
    "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m"
    " -XX:+UnlockDiagnosticVMOptions -XX:-BytecodeVerificationRemote",
)
"""Of all tests and what they start: the optimizing compiler takes a third of the time of a Java that soon ends. Without
it Java has a fifth of the room for compiled code, which the one Spark session of all tests fills; so the usual room. To
verify the classes of Flink and Spark, and those that Spark writes for each query, takes another tenth.
"""

SERVICE_VARIABLES = (
    "FS_PG_URL",
    "FS_REDIS_URL",
    "FS_JAVA_HOME",
    "FS_WAREHOUSE",
    "FS_DAGSTER_URL",
    "FS_SPARK_JARS",
    "FS_PORT",
    "FS_KAFKA",
    "FS_FLINK_URL",
    "FS_FLINK_STATE",
)

Eventually = Callable[[Callable[[], object]], None]
"""What the fixture `eventually` is."""

PATIENCE_SECONDS = 300.0
"""How long a test waits for what has to come, however busy the machine is; the wait ends as soon as it is there."""

OWN_STATE = state_folder(os.environ)
"""Of the repository; read before tests set FS_HOME."""


class RecordingReporter:
    """Remembers what a command told the user."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.records: list[StackRecord] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def download(self, name: str, done: int, total: int) -> None:
        """Nothing to remember: `test_jars` looks at downloads."""

    def services(self, record: StackRecord) -> None:
        self.records.append(record)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--sequences", type=int, default=50, help="how many sequences of each life to simulate")
    parser.addoption("--seed", type=int, default=0, help="of the simulated sequences")


@pytest.fixture(scope="session")
def core() -> NativeCore:
    """The native core, compiled from its sources if that was not done yet."""
    return load_core(built_core(OWN_STATE / "native"))


@pytest.fixture
def report() -> RecordingReporter:
    return RecordingReporter()


@pytest.fixture(scope="session")
def eventually() -> Eventually:
    """Waits until a condition holds, and fails the test if it does not within a time that is far too long."""

    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            looked = time.monotonic()
            if condition():
                return
            now = time.monotonic()
            assert now < deadline, f"not within {PATIENCE_SECONDS:.0f} s"
            time.sleep(max(0.02, min(2 * (now - looked), 1.0)))  # looking takes time from what it waits for

    return wait


@pytest.fixture(scope="session")
def jars_folder() -> Path:
    """The repository's own downloaded jars, so that no test session fetches them again."""
    return Path(os.environ.get("FS_JARS_DIR") or OWN_STATE / "jars")


@pytest.fixture(scope="session")
def flink_python() -> Path:
    """The Python of the repository's own Flink environment, made if it is missing, so that no session makes another."""
    chosen = os.environ.get("FS_FLINK_PYTHON")
    return Path(chosen) if chosen else flink_environment.install(OWN_STATE, print)


@pytest.fixture(scope="session")
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, jars_folder: Path
) -> Iterator[Settings]:
    """A running stack without Dagster in a folder of its own; `Settings.load()` finds it while the session lasts.

    Kafka and Flink belong to it if a test of the session asks for `streaming_stack`.
    """
    home = tmp_path_factory.mktemp("stack")
    streams = any("streaming_stack" in getattr(item, "fixturenames", ()) for item in request.session.items)
    with pytest.MonkeyPatch.context() as environment:
        for variable in SERVICE_VARIABLES:
            environment.delenv(variable, raising=False)
        environment.setenv("FS_HOME", str(home))
        environment.setenv("FS_JARS_DIR", str(jars_folder))
        if streams:
            environment.setenv("FS_FLINK_PYTHON", str(request.getfixturevalue("flink_python")))
        settings = replace(StackSettings.load(), port=session_port_base())
        try:
            local_stack.up(settings, dagster=False, streams=streams, report=RecordingReporter())
            yield Settings.load()
        finally:
            local_stack.down(home, RecordingReporter())


@pytest.fixture(scope="session")
def streaming_stack(stack: Settings) -> Settings:
    """The stack of the session, with Kafka and Flink."""
    stack.require_streams()
    return stack


def session_port_base() -> int:
    """A first port away from a developer's own stack and from other sessions; the next free ones do as well."""
    return 20_000 + os.getpid() % 1_000 * 10
