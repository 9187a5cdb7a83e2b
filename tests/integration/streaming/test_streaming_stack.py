"""Kafka and Flink in the local stack: jobs run, what is killed comes back without losing a row, and nothing is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from feature_store import stack_file
from feature_store.errors import StackError
from feature_store.local import flink, kafka
from feature_store.local import stack as local_stack
from feature_store.local.supervisor import running_supervisor
from feature_store.settings import Settings
from feature_store.stack_file import ServiceRecord, StackRecord
from feature_store.stack_settings import StackSettings
from feature_store.streaming.topics import Topics
from tests.conftest import PATIENCE_SECONDS, Eventually

SUBMIT = """\
import json, sys
from pyflink.common import Configuration
from pyflink.table import EnvironmentSettings, TableEnvironment
spec = json.load(sys.stdin)
configuration = Configuration()
for key, value in spec["configuration"].items():
    configuration.set_string(key, value)
settings = EnvironmentSettings.new_instance().in_streaming_mode().with_configuration(configuration).build()
tables = TableEnvironment.create(settings)
for statement in spec["statements"]:
    result = tables.execute_sql(statement)
print(result.get_job_client().get_job_id())
"""
EMBEDDED = ["postgres", "valkey", "kafka", "flink-jobmanager", "flink-taskmanager", "stream-loader"]
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


class Quiet:
    """Tells nobody anything."""

    def note(self, text: str) -> None: ...

    def download(self, name: str, done: int, total: int) -> None: ...

    def services(self, record: StackRecord) -> None: ...


@dataclass(frozen=True)
class Streams:
    """A stack with Kafka and Flink of this module."""

    settings: StackSettings

    @property
    def home(self) -> Path:
        return self.settings.home

    def up(self, *, streams: bool = True) -> StackRecord:
        return local_stack.up(self.settings, dagster=False, streams=streams, report=Quiet())

    def down(self) -> bool:
        return local_stack.down(self.home, Quiet())

    @property
    def clients(self) -> Settings:
        return Settings.load({"FS_HOME": str(self.home)})

    def service(self, name: str) -> ServiceRecord:
        record = stack_file.read(self.home)
        assert record is not None
        return next(service for service in record.services if service.name == name)

    def kill(self, name: str) -> Callable[[], bool]:
        """Kills a service; the answer tells whether it has come back."""
        before = self.service(name)
        assert before.process is not None
        os.kill(before.process.pid, signal.SIGKILL)

        def is_back() -> bool:
            now = self.service(name)
            return now.state == "ready" and now.process != before.process

        return is_back

    def create_topics(self, *names: str) -> None:
        for name in names:
            Topics(self.clients.kafka_servers).ensure(name, 2)

    def produce(self, topic: str, numbers: Sequence[int], codec: str = "none") -> None:
        producer = Producer({"bootstrap.servers": self.clients.kafka_servers, "compression.codec": codec})
        for number in numbers:
            producer.produce(topic, json.dumps({"n": number}).encode(), key=str(number))
        assert producer.flush(30) == 0

    def rest(self, path: str) -> dict[str, object]:
        with urllib.request.urlopen(f"{self.clients.flink_url}{path}", timeout=10) as answer:
            return dict(json.load(answer))

    def copy_job(self, source: str, sink: str, **configuration: str) -> str:
        """Starts a job that copies a topic, exactly once, and gives its id."""
        clients = self.clients
        host, _, port = clients.flink_url.removeprefix("http://").partition(":")
        options = (
            f"'connector' = 'kafka', 'properties.bootstrap.servers' = '{clients.kafka_servers}', 'format' = 'json'"
        )
        statements = [
            f"CREATE TABLE source_ (n INT) WITH ({options}, 'topic' = '{source}',"
            " 'scan.startup.mode' = 'earliest-offset', 'properties.group.id' = 'copy')",
            f"CREATE TABLE sink (n INT) WITH ({options}, 'topic' = '{sink}',"
            f" 'sink.delivery-guarantee' = 'exactly-once', 'sink.transactional-id-prefix' = '{sink}')",
            "INSERT INTO sink SELECT n FROM source_",
        ]
        target = {
            "execution.target": "remote",
            "rest.address": host,
            "rest.port": port,
            "execution.checkpointing.interval": "500 ms",
            "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
            "parallelism.default": "2",
        }
        done = subprocess.run(
            [str(clients.flink_python), "-c", SUBMIT],
            input=json.dumps({"statements": statements, "configuration": {**target, **configuration}}),
            env={**os.environ, "JAVA_HOME": str(clients.java_home), "FLINK_HOME": str(clients.flink_home)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[-1]

    def checkpoints(self, job: str) -> int:
        counts = self.rest(f"/jobs/{job}/checkpoints")["counts"]
        assert isinstance(counts, dict)
        return int(counts["completed"])

    def committed(self, topic: str, count: int) -> list[int]:
        """The numbers in committed transactions of a topic, sorted: `count` of them, and what comes soon after."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.clients.kafka_servers,
                "group.id": "test",  # asked for, and not used: partitions are assigned
                "isolation.level": "read_committed",
            }
        )
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in range(2)])
        numbers: list[int] = []
        deadline, more = time.monotonic() + PATIENCE_SECONDS, True
        while time.monotonic() < deadline and (len(numbers) < count or more):
            messages = consumer.consume(1_000, timeout=2.0)
            numbers += [json.loads(message.value())["n"] for message in messages if message.error() is None]
            more = bool(messages)
        consumer.close()
        return sorted(numbers)


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory, jars_folder: Path, flink_python: Path) -> Iterator[Streams]:
    """A running stack with Kafka and Flink; tests may kill its services, and leave them running."""
    home = tmp_path_factory.mktemp("streams")
    environment = {"FS_HOME": str(home), "FS_JARS_DIR": str(jars_folder), "FS_FLINK_PYTHON": str(flink_python)}
    stack = Streams(replace(StackSettings.load(environment), port=24_000 + os.getpid() % 700 * 10))
    try:
        assert stack.up(streams=False).connections is not None
        stack.up()
        yield stack
    finally:
        stack.down()
        assert running_supervisor(home) is None


@pytest.fixture(autouse=True)
def is_whole(streams: Streams, eventually: Eventually) -> None:
    """Every test starts with all services ready, whatever the one before has killed."""
    eventually(lambda: all(streams.service(name).state == "ready" for name in EMBEDDED))


def test_clients_are_told_everything(streams: Streams) -> None:
    clients = streams.clients
    clients.require_streams()
    assert clients.kafka_servers == f"127.0.0.1:{streams.service('kafka').port}"
    assert clients.flink_url == f"http://127.0.0.1:{streams.service('flink-jobmanager').port}"
    assert clients.flink_state == f"file://{streams.home}/flink"
    assert (clients.flink_home / "conf" / "config.yaml").is_file()
    assert clients.kernel_jar.parent == clients.flink_home
    assert flink.overview(clients.flink_url)["slots-total"] == 16


def test_another_up_finds_it_with_or_without_streams(streams: Streams) -> None:
    before = stack_file.read(streams.home)
    assert streams.up() == before
    assert streams.up(streams=False) == before


def test_nothing_listens_beyond_this_machine(streams: Streams) -> None:
    found = {}
    for name in ("kafka", "flink-jobmanager", "flink-taskmanager"):
        process = streams.service(name).process
        assert process is not None
        connections = psutil.Process(process.pid).net_connections("tcp")
        found[name] = {socket.laddr.ip for socket in connections if socket.status == psutil.CONN_LISTEN}
    assert all(found.values())
    assert set().union(*found.values()) <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}


def test_topics_are_not_made_by_accident(streams: Streams) -> None:
    patience = {"topic.metadata.propagation.max.ms": 1000}
    producer = Producer({"bootstrap.servers": streams.clients.kafka_servers, **patience})
    failures: list[object] = []
    producer.produce("mistyped", b"{}", on_delivery=lambda error, _: failures.append(error))
    producer.flush(30)
    assert "UNKNOWN_TOPIC_OR_PART" in str(failures)


def test_a_job_reads_every_compression_and_survives_kills_exactly_once(
    streams: Streams, eventually: Eventually
) -> None:
    streams.create_topics("numbers", "copies")
    for index, codec in enumerate(CODECS):
        streams.produce("numbers", range(index * 100, index * 100 + 100), codec)
    job = streams.copy_job("numbers", "copies")
    assert streams.committed("copies", 500) == list(range(500))

    done = 500
    for name in ("flink-taskmanager", "kafka"):
        is_back = streams.kill(name)
        eventually(is_back)
        streams.produce("numbers", range(done, done + 100))
        done += 100
        assert streams.committed("copies", done) == list(range(done)), f"after the end of {name}"
    assert streams.rest(f"/jobs/{job}")["state"] == "RUNNING"

    before = streams.checkpoints(job)
    eventually(lambda: streams.checkpoints(job) > before)
    eventually(streams.kill("flink-jobmanager"))
    eventually(lambda: flink.overview(streams.clients.flink_url)["slots-available"] == 16)
    assert streams.rest("/jobs/overview")["jobs"] == [], "a JobManager's jobs are gone with it; checkpoints are not"
    kept = (streams.home / "flink" / "checkpoints" / job).glob("chk-*/_metadata")
    newest = max(kept, key=lambda file: file.stat().st_mtime).parent
    streams.produce("numbers", range(done, done + 100))
    again = streams.copy_job("numbers", "copies", **{"execution.state-recovery.path": newest.as_uri()})
    assert streams.committed("copies", done + 100) == list(range(done + 100))
    assert streams.rest(f"/jobs/{again}")["state"] == "RUNNING"


def test_existing_kafka_and_flink_win(streams: Streams, tmp_path: Path) -> None:
    clients = streams.clients
    settings = replace(
        streams.settings,
        home=tmp_path,
        port=streams.settings.port + 3,  # anywhere; its neighbours are taken, and it moves on
        kafka=clients.kafka_servers,
        flink_url=clients.flink_url,
        flink_state=f"file://{streams.home}/flink",
    )
    other = Streams(settings)
    try:
        record = other.up()
        assert {service.name: service.state for service in record.services} == {
            "postgres": "ready",
            "valkey": "ready",
            "stream-loader": "ready",
            "kafka": "external",
            "flink-jobmanager": "external",
        }
        assert not (tmp_path / "kafka").exists()
        streams.create_topics("here", "there")
        other.produce("here", range(10))
        job = other.copy_job("here", "there")
        assert other.committed("there", 10) == list(range(10))
        other.down()
        assert streams.rest(f"/jobs/{job}")["state"] == "RUNNING", "what is not ours goes on"
    finally:
        other.down()


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"kafka": "127.0.0.1:1"}, "FS_KAFKA: the Kafka cluster cannot be used"),
        ({"flink_url": "http://127.0.0.1:1"}, "FS_FLINK_URL: the Flink cluster cannot be used"),
    ],
)
def test_what_cannot_be_used_is_named(streams: Streams, tmp_path: Path, change: dict[str, str], cause: str) -> None:
    other = Streams(replace(streams.settings, home=tmp_path, **change))
    with pytest.raises(StackError) as failure:
        other.up()
    assert str(failure.value).startswith(cause)
    assert "unset the variable" in str(failure.value)
    assert "\n" not in str(failure.value)


def test_data_survive_and_down_leaves_no_process(streams: Streams) -> None:
    streams.create_topics("kept")
    streams.produce("kept", range(7))
    processes = [psutil.Process(streams.service(name).process.pid) for name in EMBEDDED]  # type: ignore[union-attr]
    assert streams.down()
    assert not any(process.is_running() for process in processes)
    marked = [process for process in psutil.process_iter() if str(streams.home) in " ".join(command_line(process))]
    assert marked == []

    streams.up()
    assert streams.committed("kept", 7) == list(range(7))


def command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_a_damaged_kafka_is_not_touched(streams: Streams, tmp_path: Path) -> None:
    data = tmp_path / "kafka" / "data"
    data.mkdir(parents=True)
    (data / "numbers-0").write_text("precious")
    java, port = streams.clients.java_home, streams.settings.port + 100
    with pytest.raises(StackError, match=r"no meta.properties.*\./fs reset"):
        kafka.EmbeddedKafka.prepare(tmp_path, java, (), port, port + 1)
    assert (data / "numbers-0").read_text() == "precious"


def test_a_kafka_that_cannot_be_formatted_says_why(streams: Streams, tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"data folder could not be made \(Error: Could not find or load main class"):
        kafka.EmbeddedKafka.prepare(tmp_path, streams.clients.java_home, (), 1, 2)
    assert not (tmp_path / "kafka" / "data").exists()


def test_a_half_made_kafka_is_completed(streams: Streams, tmp_path: Path) -> None:
    (tmp_path / "kafka" / "data.half").mkdir(parents=True)
    (tmp_path / "kafka" / "data.half" / "meta.properties").write_text("cluster.id=half\n")
    java = streams.clients.java_home
    jars = [Path(jar) for jar in _class_path(streams)]
    kafka.EmbeddedKafka.prepare(tmp_path, java, jars, 1, 2)
    identity = (tmp_path / "kafka" / "data" / "meta.properties").read_text()
    assert "cluster.id=" in identity
    kafka.EmbeddedKafka.prepare(tmp_path, java, jars, 1, 2)
    assert (tmp_path / "kafka" / "data" / "meta.properties").read_text() == identity


def _class_path(streams: Streams) -> list[str]:
    process = streams.service("kafka").process
    assert process is not None
    command = psutil.Process(process.pid).cmdline()
    return command[command.index("-cp") + 1].split(os.pathsep)


def test_a_dead_broker_is_not_ready() -> None:
    with pytest.raises(OSError, match="refused"):
        kafka.serves(1)
    with pytest.raises(KafkaException):
        AdminClient({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}).list_topics(timeout=0.5)


def test_the_stack_starts_without_its_python_on_the_path(streams: Streams) -> None:
    """Flink's environment is named by a link inside a virtual environment, and must not be resolved."""
    python = streams.clients.flink_python
    assert python.parent.name == "bin"
    words = subprocess.run([python, "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True)
    assert Path(words.stdout.strip()) == python.parents[1]
    assert sys.prefix != words.stdout.strip()
