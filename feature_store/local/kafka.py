"""Kafka: one embedded broker that is its own controller, or somebody's, which is only asked whether it answers."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feature_store.errors import StackError
from feature_store.kafka_address import kafka_client
from feature_store.local.ports import LOOPBACK
from feature_store.local.processes import MARK
from feature_store.local.service import Service

KAFKA = "kafka"
CONTROLLER_PORT = "kafka-controller"
ANSWER_SECONDS = 2.0
STOP_SECONDS = 30.0

_CONFIGURATION = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
num.partitions=2
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
transaction.max.timeout.ms=3600000
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
log.retention.hours=168
log.segment.bytes=67108864
log.cleaner.dedupe.buffer.size=8388608
num.network.threads=2
num.io.threads=4
"""

_LOGGING = """\
rootLogger.level=WARN
rootLogger.appenderRef.console.ref=console
logger.server.name=kafka.server.KafkaRaftServer
logger.server.level=INFO
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{{yyyy-MM-dd HH:mm:ss}} %p %c{{1}}: %m%n
"""


@dataclass(frozen=True)
class EmbeddedKafka:
    """A broker on `<home>/kafka/data`, prepared so that `service()` can start it.

    Attributes:
        folder: `<home>/kafka`.
        java: command, options and class path that every program of Kafka starts with.
        port: where it will listen.
    """

    folder: Path
    java: tuple[str, ...]
    port: int

    @classmethod
    def prepare(
        cls, home: Path, java_home: Path, jars: Sequence[Path], port: int, controller_port: int
    ) -> EmbeddedKafka:
        """Writes the configuration, and formats the data folder if there is none; that takes two seconds, once.

        Raises:
            StackError: if Kafka does not run on this machine, or the data folder is not one.
        """
        folder = home / "kafka"
        folder.mkdir(parents=True, exist_ok=True)
        logging = folder / "log4j2.properties"
        logging.write_text(_LOGGING.format(), encoding="utf-8")
        options = ["-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        options += ["-XX:ReservedCodeCacheSize=48m", "-XX:+ExitOnOutOfMemoryError"]
        options += [f"-Dlog4j2.configurationFile={logging}", "-cp", os.pathsep.join(map(str, jars))]
        broker = cls(folder, (str(java_home / "bin" / "java"), *options), port)
        data = folder / "data"
        if not data.exists():
            broker._format(home, controller_port)
        elif not (data / "meta.properties").exists():
            raise StackError(
                "the data folder of Kafka is damaged (no meta.properties)",
                where=str(data),
                remedy="put the folder back as it was, or start empty with ./fs reset",
                code="damaged-data",
            )
        broker._configure(folder / "server.properties", data, controller_port)
        return broker

    @property
    def servers(self) -> str:
        """The bootstrap servers."""
        return f"{LOOPBACK}:{self.port}"

    def service(self) -> Service:
        return Service(
            name=KAFKA,
            command=(*self.java, "kafka.Kafka", str(self.folder / "server.properties")),
            folder=self.folder,
            port=self.port,
            ready=lambda: serves(self.port),
            stop_seconds=STOP_SECONDS,
        )

    def _configure(self, file: Path, data: Path, controller_port: int) -> None:
        text = _CONFIGURATION.format(host=LOOPBACK, port=self.port, controller_port=controller_port, data=data)
        file.write_text(text, encoding="utf-8")

    def _format(self, home: Path, controller_port: int) -> None:
        """Formats a folder beside the final one, and renames it when all is done: there is no half-made one."""
        half, configuration = self.folder / "data.half", self.folder / "format.properties"
        shutil.rmtree(half, ignore_errors=True)
        self._configure(configuration, half, controller_port)
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        command = [*self.java, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}"]
        command += [f"--config={configuration}"]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, MARK: str(home)}, cwd=self.folder
        )
        if done.returncode:
            words = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            telling = [line for line in words if "rror" in line or "xception" in line]
            reason = (telling or words or ["no reason given"])[0]
            raise StackError(
                f"Kafka's data folder could not be made ({reason.strip()})",
                where=str(self.folder),
                remedy="free some disk space or set FS_HOME to another folder, or set FS_KAFKA to a Kafka",
                code="data-folder",
            )
        half.rename(self.folder / "data")
        configuration.unlink()


def serves(port: int) -> bool:
    """Whether a broker on this machine lists itself as alive: a metadata request (version 5) about no topics.

    Written by hand, since a client library would start threads in the supervisor, and wait in it.
    """
    client = b"fs"
    request = struct.pack(">hhih", 3, 5, 1, len(client)) + client + struct.pack(">i?", 0, False)
    with socket.create_connection((LOOPBACK, port), timeout=ANSWER_SECONDS) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        answer = connection.recv(16, socket.MSG_WAITALL)
    if len(answer) < 16:
        return False
    brokers = int(struct.unpack(">iiii", answer)[3])  # length, correlation, throttle time, number of brokers
    return brokers > 0


def check_servers(servers: str) -> None:
    """Makes sure that an existing Kafka answers.

    Raises:
        StackError: if it does not.
    """
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    reasons: list[str] = []
    options: dict[str, Any] = {**kafka_client(servers), "log_level": 0}
    options["error_cb"] = lambda error: reasons.append(error.str())
    client = AdminClient(options)
    try:
        client.list_topics(timeout=5)
    except KafkaException as error:
        client.poll(0)  # has the reasons told, such as that a certificate is not trusted
        reason = reasons[0] if reasons else error.args[0].str()
        raise StackError(
            f"the Kafka cluster cannot be used ({reason})",
            where="FS_KAFKA",
            remedy="start it or correct host:port, or unset the variable to use the embedded broker",
            code="kafka-down",
        ) from error
