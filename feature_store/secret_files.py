"""Passwords for programs in Java and for Dagster: in files of mode 0600, not in arguments, variables or jobs.

`<home>/secrets/pgpass` is a password file as libpq and the JDBC driver of PostgreSQL read it; `kafka.properties` holds
what Kafka's clients in Java look up by `${file:...}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlencode, urlsplit

from feature_store.kafka_address import JAAS, KafkaAddress
from feature_store.stack_file import replace_private_file

SECRET_VARIABLES = ("FS_PG_URL", "FS_REDIS_URL", "FS_ONLINE_STORES", "FS_KAFKA")
"""The environment variables that may hold passwords."""

KAFKA_FILE = "kafka.properties"
_DEFAULT_PORT = 5432


def secrets_folder(home: Path) -> Path:
    """Where the files of a state folder are."""
    return home / "secrets"


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a program that finds its connections in the stack's record."""
    return {name: value for name, value in environ.items() if name not in SECRET_VARIABLES}


def write_pgpass(home: Path, server: str) -> Path:
    """Puts the password of a PostgreSQL server (a URL) into the password file of a state folder; returns its path.

    Lines of other servers and users stay. Of a server without a password nothing is written.
    """
    file = secrets_folder(home) / "pgpass"
    parts = urlsplit(server)
    if parts.password:
        user = unquote(parts.username or "")
        kept = _lines(file)
        for host in parts.netloc.rpartition("@")[2].split(","):
            address = urlsplit(f"//{host}")
            place = [address.hostname or "", str(address.port or _DEFAULT_PORT), "*", user]
            key = "".join(f"{_escaped(part)}:" for part in place)
            kept = [f"{key}{_escaped(unquote(parts.password))}", *(line for line in kept if not line.startswith(key))]
        _write(file, "".join(f"{line}\n" for line in kept))
    return file


def write_kafka(home: Path, kafka: str) -> None:
    """Puts what lets a client in Java into a Kafka (an address as FS_KAFKA has it) into a state folder's file."""
    login = KafkaAddress.parse(kafka).login()
    if login:
        file = secrets_folder(home) / KAFKA_FILE
        _write(file, f"{JAAS}={_property(login)}\n")


def with_passfile(url: str, passfile: Path) -> str:
    """The SQLAlchemy URL of a PostgreSQL database whose password is looked up in a file, not given in the URL."""
    parts = urlsplit(url)
    if not parts.password:
        return url
    user, _, address = parts.netloc.rpartition("@")
    query = "&".join(filter(None, [parts.query, urlencode({"passfile": str(passfile)}, safe="/")]))
    return SplitResult(parts.scheme, f"{user.partition(':')[0]}@{address}", parts.path, query, parts.fragment).geturl()


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def _write(file: Path, text: str) -> None:
    """Replaces a file unless it says that already."""
    if file.exists() and file.read_text(encoding="utf-8") == text:
        return
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_private_file(file, text.encode())


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace(":", "\\:")


def _property(value: str) -> str:
    """A value of a Java properties file, which is read as ISO 8859-1: other characters are UTF-16 units."""
    units = value.replace("\\", "\\\\").encode("utf-16-be")
    codes = [int.from_bytes(units[place : place + 2]) for place in range(0, len(units), 2)]
    return "".join(chr(code) if code < 128 else f"\\u{code:04x}" for code in codes)
