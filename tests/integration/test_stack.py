"""The local stack as users break it: killed, half-written, with taken ports, beside existing services."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import psycopg2
import pytest
import redis

from feature_store import stack_file
from feature_store.errors import StackError
from feature_store.local import postgres, processes, valkey
from feature_store.local import stack as local_stack
from feature_store.local.supervisor import running_supervisor
from feature_store.settings import Settings
from feature_store.stack_file import Identity, ServiceRecord, StackRecord
from feature_store.stack_settings import StackSettings
from tests.conftest import Eventually


@dataclass(frozen=True)
class LocalStack:
    """A stack of one test, in its own folder and on its own ports."""

    settings: StackSettings
    report: local_stack.Reporter

    @property
    def home(self) -> Path:
        return self.settings.home

    def up(self) -> StackRecord:
        return local_stack.up(self.settings, dagster=False, report=self.report)

    def down(self) -> bool:
        return local_stack.down(self.home, self.report)

    def clients(self) -> Settings:
        return Settings.load({"FS_HOME": str(self.home)})

    def query(self, statement: str) -> list[tuple[object, ...]]:
        connection = psycopg2.connect(self.clients().database_url("registry", driver="postgresql"))
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def store(self) -> redis.Redis:
        return redis.Redis.from_url(self.clients().redis_url, decode_responses=True)


@pytest.fixture
def local(tmp_path: Path, jars_folder: Path, report: local_stack.Reporter) -> Iterator[LocalStack]:
    """A stack that is not running yet; whatever the test does to it, nothing of it is left afterwards."""
    environment = {"FS_HOME": str(tmp_path), "FS_JARS_DIR": str(jars_folder)}
    stack = LocalStack(replace(StackSettings.load(environment), port=free_ports()), report)
    try:
        yield stack
    finally:
        stack.down()
        assert running_supervisor(tmp_path) is None
        assert processes.leftovers(tmp_path, None) == []


@pytest.fixture
def running(stack: Settings, report: local_stack.Reporter) -> LocalStack:
    """The stack of the whole session, for tests that only look."""
    return LocalStack(StackSettings.load({"FS_HOME": str(stack.home)}), report)


def free_ports() -> int:
    """A first port below the ephemeral range that is free now, and so are the next ones, most likely."""
    first = 22_000 + os.getpid() % 900 * 10
    return next(port for port in range(first, 32_000, 10) if not listening(port) and not listening(port + 1))


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def service(record: StackRecord | None, name: str) -> ServiceRecord:
    assert record is not None
    return next(service for service in record.services if service.name == name)


def identities(record: StackRecord) -> list[Identity]:
    return [service.process for service in record.services if service.process]


def test_data_survive_down_and_up_and_down_leaves_no_process(local: LocalStack) -> None:
    record = local.up()
    local.query("CREATE TABLE kept AS SELECT 42 AS answer")
    local.store().set("kept", "42")
    assert stat.S_IMODE((local.home / "stack.json").stat().st_mode) == 0o600
    assert local.down()
    assert not any(identity.is_running() for identity in [record.supervisor, *identities(record)])
    assert not (local.home / "stack.json").exists()
    assert not local.down(), "nothing was left to stop"
    with pytest.raises(StackError, match=r"no stack is running -> run ./fs up"):
        local.clients()

    local.up()
    assert local.query("SELECT answer FROM kept") == [(42,)]
    assert local.store().get("kept") == "42"
    assert local.store().config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    databases = {row[0] for row in local.query("SELECT datname FROM pg_database")}
    assert databases >= {"registry", "iceberg", "dagster", "shop"}


def test_up_finds_a_running_stack(running: LocalStack) -> None:
    before = stack_file.read(running.home)
    assert running.up() == before


def test_the_record_holds_what_clients_need(running: LocalStack) -> None:
    record = json.loads((running.home / "stack.json").read_text())
    assert record["connections"]["pg_url"] == running.clients().pg_url
    assert all(Path(jar).is_file() for jar in record["connections"]["spark_jars"])
    assert all(identity.is_running() for identity in identities(running.up()))


def test_wrong_passwords_are_refused(running: LocalStack) -> None:
    clients = running.clients()
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(clients.database_url("registry", driver="postgresql").replace(clients.pg_password, "guess"))
    with pytest.raises(StackError, match="authenticat"):
        valkey.check_server(f"redis://127.0.0.1:{service(running.up(), 'valkey').port}")


def test_a_killed_supervisor_takes_its_services_along_and_the_next_up_recovers(
    local: LocalStack, eventually: Eventually
) -> None:
    record = local.up()
    local.query("CREATE TABLE kept AS SELECT 1")
    os.kill(record.supervisor.pid, signal.SIGKILL)
    eventually(lambda: not any(identity.is_running() for identity in identities(record)))
    with pytest.raises(StackError, match="no stack is running"):
        local.clients()

    again = local.up()
    assert again.supervisor != record.supervisor
    assert local.query("SELECT * FROM kept") == [(1,)]


@pytest.mark.parametrize("name", ["postgres", "valkey"])
def test_a_killed_service_is_started_again(local: LocalStack, eventually: Eventually, name: str) -> None:
    local.up()
    local.query("CREATE TABLE kept AS SELECT 1")
    local.store().set("kept", "1")
    before = service(stack_file.read(local.home), name)
    assert before.process is not None
    eventually(lambda: local.store().info("persistence")["aof_pending_bio_fsync"] == 0)
    os.kill(before.process.pid, signal.SIGKILL)

    def is_back() -> bool:
        now = service(stack_file.read(local.home), name)
        return now.state == "ready" and now.process != before.process

    eventually(is_back)
    assert service(stack_file.read(local.home), name).restarts >= 1
    assert local.query("SELECT * FROM kept") == [(1,)]
    assert local.store().get("kept") == "1"


def test_descendants_of_a_killed_stack_are_ended_and_nobody_else(local: LocalStack, eventually: Eventually) -> None:
    record = local.up()
    sleeper = [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"]
    marked = start(sleeper, {processes.MARK: str(local.home)})
    other = start(sleeper, {processes.MARK: f"{local.home}-of-another"})
    try:
        os.kill(record.supervisor.pid, signal.SIGKILL)
        # a record may name a process id that belongs to somebody else by now
        mistaken = ServiceRecord("valkey", "ready", Identity(other.pid, "an earlier start"))
        stack_file.write(local.home, replace(record, services=(mistaken,)))
        eventually(lambda: not any(identity.is_running() for identity in identities(record)))
        assert local.down()
        marked.wait(10)
        assert other.poll() is None
    finally:
        for process in (marked, other):
            process.kill()
            process.communicate()


def start(command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    process.stdout.readline()  # it runs
    return process


def test_a_taken_port_is_named_when_the_user_chose_it(local: LocalStack) -> None:
    with socket.create_server(("127.0.0.1", local.settings.port + 1)):
        chosen = LocalStack(replace(local.settings, port_is_chosen=True), local.report)
        own_name = psutil.Process().name()
        with pytest.raises(StackError) as failure:
            chosen.up()
        assert str(failure.value) == (
            f"port {local.settings.port + 1} for valkey is taken by {own_name} (pid {os.getpid()})"
            " -> stop that program, or set FS_PORT to another first port [port]"
        )
        assert running_supervisor(local.home) is None

        moved = local.up()
        assert f"; valkey uses {service(moved, 'valkey').port}" in moved.notices[0]
        assert local.store().ping()


def test_a_half_written_state_folder_is_completed(local: LocalStack) -> None:
    (local.home / "postgres" / "data.half").mkdir(parents=True)
    (local.home / "postgres" / "data.half" / "PG_VERSION").write_text("18\n")
    (local.home / "postgres" / "data").mkdir()
    (local.home / "stack.json").write_text('{"state": "rea')
    (local.home / "supervisor.lock").write_text("no pid\n")
    (local.home / "java" / "bin").mkdir(parents=True)
    (local.home / "java" / "bin" / "java").write_text("#!/bin/sh\nexit")
    local.up()
    assert local.query("SELECT 1") == [(1,)]
    words = subprocess.run([local.clients().java_home / "bin" / "java", "-version"], capture_output=True, text=True)
    assert 'version "21.' in words.stderr

    local.down()
    (local.home / "postgres" / "data" / "postmaster.pid").write_text(
        f"{os.getpid()}\n"
    )  # a living process, not Postgres
    (local.home / "postgres" / "password").unlink()
    local.up()
    assert local.query("SELECT 1") == [(1,)]

    (local.home / "stack.json").write_text("")
    assert local.up().state == "ready", "the lost record of a running stack is written anew"


def test_a_damaged_data_folder_is_not_touched(local: LocalStack) -> None:
    data = local.home / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "base").write_text("precious")
    with pytest.raises(StackError, match=r"no PG_VERSION.*\./fs reset"):
        local.up()
    assert (data / "base").read_text() == "precious"


def test_a_service_that_does_not_come_up_is_named_with_its_last_words(local: LocalStack) -> None:
    local.up()
    local.down()
    (local.home / "valkey" / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")
    with pytest.raises(
        StackError, match=r"valkey ended with exit code 1: .* -> \./fs logs valkey shows more"
    ) as failure:
        local.up()
    assert failure.value.code == "service-failed"
    assert running_supervisor(local.home) is None


def test_two_ups_at_once_make_one_stack(local: LocalStack) -> None:
    script = (
        "import sys; from dataclasses import replace; from conftest import RecordingReporter;"
        "from feature_store.local import stack; from feature_store.stack_settings import StackSettings;"
        "settings = replace(StackSettings.load(), port=int(sys.argv[1]));"
        "print(stack.up(settings, dagster=False, report=RecordingReporter()).supervisor.pid)"
    )
    path = os.pathsep.join([str(Path(__file__).parents[2]), str(Path(__file__).parents[1])])
    settings = {"FS_HOME": str(local.home), "FS_JARS_DIR": str(local.settings.jars)}
    command = [sys.executable, "-c", script, str(local.settings.port)]
    environment = {**os.environ, **settings, "PYTHONPATH": path}
    callers = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = {caller.communicate(timeout=300)[0].strip() for caller in callers}
    assert [caller.returncode for caller in callers] == [0, 0]
    supervisor = running_supervisor(local.home)
    assert supervisor is not None
    assert answers == {str(supervisor.pid)}


def test_existing_services_win(local: LocalStack, stack: Settings) -> None:
    settings = replace(local.settings, pg_url=stack.pg_url, redis_url=stack.redis_url)
    record = local_stack.up(settings, dagster=False, report=local.report)
    assert [(entry.name, entry.state) for entry in record.services] == [
        ("postgres", "external"),
        ("valkey", "external"),
    ]
    assert not (local.home / "postgres").exists()
    clients = local.clients()
    assert (clients.pg_url, clients.redis_url) == (stack.pg_url, stack.redis_url)
    local.down()
    assert redis.Redis.from_url(stack.redis_url).ping(), "what is not ours goes on"


def test_existing_services_get_our_databases(local: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> None:
    server = postgres.EmbeddedPostgres.prepare(tmp_path_factory.mktemp("server"), local.settings.port)
    with subprocess.Popen(**popen_arguments(server)) as process:
        try:
            settings = replace(local.settings, pg_url=server.url)
            with_deadline(lambda: local_stack.up(settings, dagster=False, report=local.report))
            databases = {row[0] for row in local.query("SELECT datname FROM pg_database")}
            assert databases >= {"registry", "iceberg", "dagster", "shop"}
            local.down()
            assert process.poll() is None
        finally:
            process.send_signal(signal.SIGINT)


def popen_arguments(server: postgres.EmbeddedPostgres) -> dict[str, object]:
    service = server.service()
    return {
        "args": service.command,
        "preexec_fn": service.account.enter,
        "stderr": subprocess.DEVNULL,
        **service.account.ids(),
    }


def with_deadline(attempt: Callable[[], object], attempts: int = 100) -> None:
    """A server that has only just been started refuses connections at first."""
    for _ in range(attempts):
        try:
            attempt()
        except StackError as error:
            last = error
        else:
            return
    raise last


@pytest.mark.parametrize(
    ("variable", "settings", "cause"),
    [
        ("FS_PG_URL", {"pg_url": "postgresql://nobody@127.0.0.1:1"}, "PostgreSQL server cannot be used"),
        ("FS_REDIS_URL", {"redis_url": "redis://127.0.0.1:1/0"}, "Redis server cannot be used"),
        ("FS_JAVA_HOME", {"java_home": Path("/nonexistent")}, "there is no bin/java"),
    ],
)
def test_an_existing_service_that_cannot_be_used_is_named(
    local: LocalStack, variable: str, settings: dict[str, object], cause: str
) -> None:
    with pytest.raises(StackError) as failure:
        local_stack.up(replace(local.settings, **settings), dagster=False, report=local.report)
    text = str(failure.value)
    assert text.startswith(f"{variable}: ")
    assert cause in text
    assert "unset the variable to use the embedded" in text
    assert "\n" not in text
