"""A stack on somebody else's services: a Kafka that encrypts and wants a password, and a Flink cluster for each job."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from feature_store.client import FeatureStore
from feature_store.errors import StackError
from feature_store.kafka_address import kafka_client
from feature_store.local import jars
from feature_store.local import stack as local_stack
from feature_store.local.kafka import EmbeddedKafka, check_servers
from feature_store.plan.build import build_plan
from feature_store.settings import REPOSITORY, Settings
from feature_store.stack_settings import StackSettings
from feature_store.streaming.deployment import cluster_name
from feature_store.streaming.loader import Loader
from feature_store.streaming.progress import JobState, job_states
from feature_store.streaming.topics import Topics
from tests.conftest import Eventually, RecordingReporter, session_port_base
from tests.integration import exposed
from tests.integration.certificates import Authority
from tests.integration.streaming import application_cluster
from tests.integration.streaming.stream_cases import Sender, activity, compare_when_settled, now_micros, prepare, source

VISITS = source("application_visits")
GROUP = activity(VISITS)
LOG = "log of application_visits"


SECURITY = """
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},ENCRYPTED://127.0.0.1:{encrypted}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},ENCRYPTED://127.0.0.1:{encrypted}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:SASL_SSL,ENCRYPTED:SSL
inter.broker.listener.name=PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={authority}
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
listener.name.plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
username="broker" password="broker" user_broker="broker" user_fs="it's secret";
"""
"""The name of a listener is a name; what it takes to be let in is in the map."""


@dataclass(frozen=True)
class SecuredKafka:
    """A broker that lets nobody in without encryption.

    Attributes:
        address: where a password is needed, too.
        encrypted: where it is not.
    """

    address: str
    encrypted: str


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def secured(
    stack: Settings,
    tmp_path_factory: pytest.TempPathFactory,
    jars_folder: Path,
    authority: Authority,
    eventually: Eventually,
) -> Iterator[SecuredKafka]:
    home = tmp_path_factory.mktemp("secured")
    port, controller, encrypted = list(application_cluster.free_ports().values())[:3]
    paths = [jars_folder / jar.file_name for jar in jars.select(jars.read_lock(), "kafka")]
    broker = EmbeddedKafka.prepare(home, stack.java_home, paths, port, controller)
    own, keystore = authority.sign("broker"), home / "broker.pem"
    keystore.write_bytes(own.key.read_bytes() + own.certificate.read_bytes())
    secrets = {"keystore": keystore, "authority": authority.file}
    security = SECURITY.format(port=port, controller=controller, encrypted=encrypted, **secrets)
    replaced = {line.partition("=")[0] for line in security.splitlines()}
    file = broker.folder / "server.properties"
    lines = [line for line in file.read_text().splitlines() if line.partition("=")[0] not in replaced]
    file.write_text("\n".join(lines) + security)
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(broker.service().command, cwd=broker.folder, stdout=log, stderr=log, env=os.environ)
    found = SecuredKafka(
        f"sasl_ssl://fs:it%27s%20secret@127.0.0.1:{port}?ca={authority.file}",
        f"ssl://127.0.0.1:{encrypted}?ca={authority.file}",
    )
    try:
        eventually(lambda: answers(found.address))
        yield found
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def address(secured: SecuredKafka) -> str:
    return secured.address


@pytest.fixture(scope="module")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the clusters; they end with the tests."""
    folder = tmp_path_factory.mktemp("clusters")
    yield folder
    for cluster in folder.iterdir():
        application_cluster.stop(cluster)


@pytest.fixture(scope="module")
def gateway(clusters: Path) -> Iterator[str]:
    """The address of a server that passes `/<cluster>/...` on to that cluster."""

    class Gateway(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _, name, path = self.path.split("/", 2)
            place = clusters / name / "url"
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = urllib.request.Request(
                f"{place.read_text() if place.exists() else 'http://127.0.0.1:9'}/{path}",
                data=body or None,
                method=self.command,
                headers={"Content-Type": "application/json"},
            )
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    status, said = answer.status, answer.read()
            except urllib.error.HTTPError as error:
                status, said = error.code, error.read()
            except OSError:
                status, said = 503, b"no such cluster"
            self.send_response(status)
            self.end_headers()
            self.wfile.write(said)

        do_POST = do_PATCH = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def store(
    tmp_path_factory: pytest.TempPathFactory,
    jars_folder: Path,
    flink_python: Path,
    clusters: Path,
    gateway: str,
    address: str,
) -> Iterator[FeatureStore]:
    """On a stack of its own."""
    home = tmp_path_factory.mktemp("stack")
    python = ["env", f"PYTHONPATH={REPOSITORY}", sys.executable, "-P"]
    command = [*python, application_cluster.__file__, str(home), str(clusters)]
    environment = {
        "FS_HOME": str(home),
        "FS_JARS_DIR": str(jars_folder),
        "FS_FLINK_PYTHON": str(flink_python),
        "FS_KAFKA": address,
        "FS_FLINK_URL": f"{gateway}/{{job}}",
        "FS_FLINK_DEPLOY": shlex.join(command),
    }
    settings = replace(StackSettings.load(environment), port=session_port_base() + 5_000)
    try:
        local_stack.up(settings, dagster=False, streams=True, report=RecordingReporter())
        yield FeatureStore(Settings.load({"FS_HOME": str(home)}))
    finally:
        local_stack.down(home, RecordingReporter())


def test_a_wrong_password_is_not_let_in(address: str) -> None:
    wrong = address.replace("secret", "known")
    with pytest.raises(StackError, match="the Kafka cluster cannot be used") as failure:
        check_servers(wrong)
    assert "known" not in str(failure.value)


def test_a_certificate_of_another_authority_is_not_trusted(
    secured: SecuredKafka,
    authority: Authority,
    tmp_path: Path,
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def nothing(*_: object) -> Any:
        raise AssertionError("there is nothing to load")

    stranger = Authority(tmp_path, "stranger")
    for address in (secured.address, secured.encrypted):
        with pytest.raises(StackError, match=r"cannot be used .*certificate verify failed") as failure:
            check_servers(address.replace(str(authority.file), str(stranger.file)))
        assert failure.value.code == "kafka-down"
    loader = Loader(secured.address.replace(str(authority.file), str(stranger.file)), nothing, nothing, nothing)
    loader.serve([build_plan(GROUP).schema])
    with caplog.at_level(logging.WARNING, "feature_store.loader"):
        eventually(lambda: loader.step() == 0 and "certificate verify failed" in caplog.text)
    loader.close()
    plain = secured.encrypted.removeprefix("ssl://").partition("?")[0]
    with pytest.raises(StackError, match="the Kafka cluster cannot be used"):
        check_servers(plain)


def test_messages_come_back_over_an_encrypted_connection(secured: SecuredKafka) -> None:
    """Without a password; with one, all of what a stream needs does in the test below."""
    topics = Topics(secured.encrypted)
    topics.ensure("test.encrypted", 1)
    producer = Producer(kafka_client(secured.encrypted))
    producer.produce("test.encrypted", "é".encode())
    assert producer.flush(60) == 0
    assert [message.value() for message in topics.messages("test.encrypted", {0: 0})] == ["é".encode()]


def test_each_job_has_a_cluster_of_its_own(store: FeatureStore, clusters: Path, eventually: Eventually) -> None:
    streams = prepare(store, GROUP)
    assert [state.state for state in job_states(streams)] == ["MISSING", "MISSING"]
    assert [outcome.did for outcome in streams.supervise()] == ["started", "started"]
    assert {folder.name for folder in clusters.iterdir()} == {cluster_name(LOG), cluster_name(GROUP.id)}
    sender = Sender(store.settings.kafka_servers, VISITS.topic, seed=3)
    sender.send(seconds=3, rate=100)
    found = compare_when_settled(store, sender, GROUP)
    assert found.is_equal, found
    assert found.rows > 20
    told = [*exposed.files(clusters)]
    for name in (LOG, GROUP.id):
        told += exposed.flink_answers(streams.flink.cluster_of(name))
    assert len(told) > 20
    secrets = ("it's secret", store.settings.pg_password)
    assert [where for where, text in told for secret in secrets if secret in text] == []
    assert [outcome.did for outcome in streams.supervise()] == ["runs", "runs"]
    eventually(lambda: [reads_all(state, sender) for state in job_states(streams)] == [True, True])

    lost(clusters / cluster_name(GROUP.id))
    since = now_micros()
    (outcome,) = streams.supervise([GROUP.id])
    assert outcome.did == "resumed"
    assert "checkpoints" in outcome.record.state_path
    sender.send(seconds=2, rate=100)
    found = compare_when_settled(store, sender, GROUP, since)
    assert found.is_equal, found

    stopped = streams.stop(GROUP.id)
    assert stopped is not None
    assert "savepoint" in stopped.state_path
    assert not (clusters / cluster_name(GROUP.id) / "pids").exists(), "its cluster is gone"
    assert streams.supervise([GROUP.id])[0].did == "is stopped"
    lost(clusters / cluster_name(LOG))
    stopped = streams.stop(LOG)
    assert stopped is not None
    assert stopped.desired == "stopped"
    assert not (clusters / cluster_name(LOG) / "pids").exists(), "it might only have been out of reach"
    eventually(lambda: not streams.flink.jobs(streams.wanted))


@pytest.mark.parametrize(
    ("command", "reason"), [("false", "no reason given"), ("sh -c 'echo no room >&2; exit 3'", "no room")]
)
def test_a_command_that_fails_is_named(store: FeatureStore, command: str, reason: str) -> None:
    streams = prepare(FeatureStore(replace(store.settings, flink_deploy=command)), GROUP)
    with pytest.raises(StackError, match=rf"FS_FLINK_DEPLOY: the command does not \w+ the cluster of .*: {reason}"):
        streams.start(GROUP.id)


def answers(address: str) -> bool:
    try:
        check_servers(address)
    except StackError:
        return False
    return True


def reads_all(state: JobState, sender: Sender) -> bool:
    """Whether a job runs and has read all that was sent."""
    progress = state.progress
    return state.is_good and progress is not None and bool(progress.watermark) and progress.records_in >= sender.good


def lost(cluster: Path) -> None:
    """Kills a cluster without a word to anybody."""
    for pid in (cluster / "pids").read_text().split():
        os.kill(int(pid), signal.SIGKILL)
