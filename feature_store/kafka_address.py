"""The address of a Kafka, with what it takes to be let in, as its two kinds of clients want it.

host:9092,host:9092                                               plain
ssl://host:9093?ca=/etc/kafka/ca.pem                              encrypted
sasl_ssl://user:password@host:9093?mechanism=SCRAM-SHA-512        with a user; mechanism PLAIN unless said
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from feature_store.errors import StackError

_LOGINS = {
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "SCRAM-SHA-256": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule",
}
JAAS = "sasl.jaas.config"
"""The property of clients in Java that holds the password."""
_PROTOCOLS = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")


@dataclass(frozen=True)
class KafkaAddress:
    """Where a Kafka is, and who one is to it.

    Attributes:
        servers: bootstrap servers, without a password.
        protocol: one of `plaintext`, `ssl`, `sasl_plaintext`, `sasl_ssl`.
        user, password, mechanism: of SASL; empty without.
        ca: the file (PEM) of the authority behind the servers' certificates; empty for those the system trusts.
    """

    servers: str
    protocol: str = "plaintext"
    user: str = ""
    password: str = ""
    mechanism: str = ""
    ca: str = ""

    @classmethod
    def parse(cls, text: str) -> KafkaAddress:
        """Reads FS_KAFKA; the module's text shows what it may look like.

        Raises:
            StackError: if it is no address, or lacks what its protocol needs.
        """
        if "://" not in text:
            return cls(text)
        protocol, _, rest = text.partition("://")
        parts = urlsplit(f"//{rest}")  # a scheme with `_` is none to it
        access, _, servers = parts.netloc.rpartition("@")
        user, _, password = access.partition(":")
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        has_user = protocol.startswith("sasl")
        mechanism = options.pop("mechanism", "PLAIN") if has_user else ""
        ca = options.pop("ca", "") if protocol.endswith("ssl") else ""
        wrong = ""
        if protocol not in _PROTOCOLS:
            wrong = f"{protocol!r} is none of {', '.join(_PROTOCOLS)}"
        elif not servers:
            wrong = "there is no server in it"
        elif has_user != bool(user and password):
            wrong = f"{protocol} needs user:password@" if has_user else f"{protocol} takes no user"
        elif has_user and mechanism not in _LOGINS:
            wrong = f"the mechanism {mechanism!r} is none of {', '.join(_LOGINS)}"
        elif options or parts.path.strip("/"):
            wrong = f"{', '.join(options) or parts.path} means nothing there"
        if wrong:
            raise StackError(
                f"is not the address of a Kafka: {wrong}",
                where="FS_KAFKA",
                remedy="write host:port,host:port or sasl_ssl://user:password@host:port?mechanism=SCRAM-SHA-512",
                code="kafka-address",
            )
        return cls(servers, protocol, unquote(user), unquote(password), mechanism, ca)

    def client_options(self) -> dict[str, str]:
        """For clients in Python, which stand on librdkafka."""
        found = {"bootstrap.servers": self.servers}
        if self.protocol != "plaintext":
            found["security.protocol"] = self.protocol
        if self.user:
            found |= {"sasl.mechanism": self.mechanism, "sasl.username": self.user, "sasl.password": self.password}
        if self.ca:
            found["ssl.ca.location"] = self.ca
        return found

    def login(self) -> str:
        """What a client in Java logs in with, the value of `JAAS`; empty without a user."""
        if not self.user:
            return ""
        user, password = _escaped(self.user), _escaped(self.password)
        return f'{_LOGINS[self.mechanism]} required username="{user}" password="{password}";'

    def java_options(self, login_file: str) -> dict[str, str]:
        """For Flink's clients, in Java, without the password: they read `login` from a file of their machine.

        The file of `ca` has to be there, too.
        """
        found = {"bootstrap.servers": self.servers}
        if self.protocol != "plaintext":
            found["security.protocol"] = self.protocol.upper()
        if self.user:
            found["sasl.mechanism"] = self.mechanism
            found["config.providers"] = "file"
            found["config.providers.file.class"] = "org.apache.kafka.common.config.provider.FileConfigProvider"
            found[JAAS] = f"${{file:{login_file}:{JAAS}}}"
        if self.ca:
            found |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": self.ca}
        return found


def kafka_client(address: str) -> dict[str, str]:
    """The options of a client in Python for an address as settings have it."""
    return KafkaAddress.parse(address).client_options()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
