"""Addresses of Kafka, as the two kinds of clients want them."""

from __future__ import annotations

import pytest

from feature_store.errors import StackError
from feature_store.kafka_address import KafkaAddress, kafka_client
from feature_store.stack_settings import StackSettings


def test_servers_alone() -> None:
    address = KafkaAddress.parse("one:9092,two:9092")
    plain = {"bootstrap.servers": "one:9092,two:9092"}
    assert address.client_options() == address.java_options("login") == plain
    assert KafkaAddress.parse("plaintext://one:9092,two:9092").java_options("login") == plain


def test_a_user_with_a_password() -> None:
    text = "sasl_ssl://fs:p%40ss%22@one:9093,two:9093?mechanism=SCRAM-SHA-512&ca=/etc/ca.pem"
    assert kafka_client(text) == {
        "bootstrap.servers": "one:9093,two:9093",
        "security.protocol": "sasl_ssl",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "fs",
        "sasl.password": 'p@ss"',
        "ssl.ca.location": "/etc/ca.pem",
    }
    assert KafkaAddress.parse(text).login() == (
        'org.apache.kafka.common.security.scram.ScramLoginModule required username="fs" password="p@ss\\"";'
    )
    assert KafkaAddress.parse(text).java_options("/secrets/kafka.properties") == {
        "bootstrap.servers": "one:9093,two:9093",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.jaas.config": "${file:/secrets/kafka.properties:sasl.jaas.config}",
        "config.providers": "file",
        "config.providers.file.class": "org.apache.kafka.common.config.provider.FileConfigProvider",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": "/etc/ca.pem",
    }
    shown = StackSettings.load({"FS_KAFKA": text}).as_text()["FS_KAFKA"]
    assert "p%40ss" not in shown
    assert "one:9093,two:9093" in shown


def test_encryption_alone() -> None:
    assert kafka_client("ssl://one:9093") == {"bootstrap.servers": "one:9093", "security.protocol": "ssl"}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("kafka://one:9092", "'kafka' is none of plaintext, ssl, sasl_plaintext, sasl_ssl"),
        ("ssl://", "there is no server in it"),
        ("sasl_ssl://one:9092", "sasl_ssl needs user:password@"),
        ("sasl_ssl://fs@one:9092", "sasl_ssl needs user:password@"),
        ("ssl://fs:secret@one:9092", "ssl takes no user"),
        ("sasl_plaintext://fs:secret@one:9092?mechanism=GSSAPI", "the mechanism 'GSSAPI' is none of PLAIN, SCRAM"),
        ("sasl_plaintext://fs:secret@one:9092?ca=/ca.pem", "ca means nothing there"),
        ("ssl://one:9092/topic", "/topic means nothing there"),
    ],
)
def test_what_is_wrong_with_an_address_is_said_without_the_password(text: str, wrong: str) -> None:
    with pytest.raises(StackError, match="FS_KAFKA: is not the address of a Kafka: ") as failure:
        kafka_client(text)
    assert wrong in str(failure.value)
    assert "secret" not in str(failure.value)
