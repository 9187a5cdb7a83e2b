"""A Kafka that lets in only those with a password: everything that speaks to it, Flink included."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from confluent_kafka import Producer

from feature_store.client import FeatureStore
from feature_store.compile.flink import updates_topic
from feature_store.errors import StackError
from feature_store.kafka_address import kafka_client
from feature_store.local import jars
from feature_store.local.kafka import EmbeddedKafka, check_servers
from feature_store.plan.build import build_plan
from feature_store.settings import Settings
from feature_store.streaming.heartbeats import Heartbeats
from feature_store.streaming.topics import Topics
from tests.integration.application_cluster import free_ports
from tests.integration.stream_cases import activity, as_json, deploy, event_at, now_micros, source

STREAM = source("secured")
GROUP = activity(STREAM)
SECURITY = """
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
listener.name.plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
username="broker" password="broker" user_broker="broker" user_fs="it's secret";
"""


@pytest.fixture(scope="module")
def address(
    streaming_stack: Settings,
    tmp_path_factory: pytest.TempPathFactory,
    jars_folder: Path,
    eventually: Callable[..., None],
) -> Iterator[str]:
    """Of such a broker."""
    home = tmp_path_factory.mktemp("secured")
    port, controller = list(free_ports().values())[:2]
    paths = [jars_folder / jar.file_name for jar in jars.select(jars.read_lock(), "kafka")]
    broker = EmbeddedKafka.prepare(home, streaming_stack.java_home, paths, port, controller)
    file = broker.folder / "server.properties"
    lines = [line for line in file.read_text().splitlines() if not line.startswith("listener.security.protocol.map")]
    file.write_text("\n".join(lines) + SECURITY)
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(broker.service().command, cwd=broker.folder, stdout=log, stderr=log, env=os.environ)
    address = f"sasl_plaintext://fs:it%27s%20secret@127.0.0.1:{port}"
    try:
        eventually(lambda: answers(address), seconds=60)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def answers(address: str) -> bool:
    try:
        check_servers(address)
    except StackError:
        return False
    return True


def test_a_wrong_password_is_not_let_in(address: str) -> None:
    wrong = address.replace("secret", "known")
    with pytest.raises(StackError, match="the Kafka cluster cannot be used") as failure:
        check_servers(wrong)
    assert "known" not in str(failure.value)


def test_a_job_reads_and_writes_there(streaming_stack: Settings, address: str, eventually: Callable[..., None]) -> None:
    store = FeatureStore(replace(streaming_stack, kafka_servers=address))
    streams = deploy(store, GROUP)
    try:
        producer, heartbeats = Producer(kafka_client(address)), Heartbeats(address)
        heartbeats.serve([STREAM.topic])
        for number in range(50):
            producer.produce(STREAM.topic, as_json(event_at(Random(number), now_micros(), 3)), partition=number % 2)
        assert producer.flush(30) == 0

        def written() -> bool:
            heartbeats.send()
            rows = store.catalog.load_table(build_plan(GROUP).schema.table).scan().count()
            places = Topics(address).offsets(updates_topic(build_plan(GROUP).schema))
            return rows > 0 and sum(place.end for place in places.values()) > 0

        eventually(written, seconds=60)
    finally:
        for name in streams.wanted:
            streams.stop(name)
