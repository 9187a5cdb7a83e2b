"""Files with passwords: who can read them, and what libpq, Java and URLs make of them."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from feature_store.secret_files import with_passfile, without_secrets, write_kafka, write_pgpass


def test_a_password_file_has_a_line_for_each_server_and_user(tmp_path: Path) -> None:
    file = write_pgpass(tmp_path, "postgresql://fs:a%3Ab%5C@one,two:5433")
    assert file.read_text() == "two:5433:*:fs:a\\:b\\\\\none:5432:*:fs:a\\:b\\\\\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    write_pgpass(tmp_path, "postgresql://fs:new@one")
    write_pgpass(tmp_path, "postgresql://other:1@one")
    write_pgpass(tmp_path, "postgresql://trusted@three")
    assert file.read_text() == "one:5432:*:other:1\none:5432:*:fs:new\ntwo:5433:*:fs:a\\:b\\\\\n"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            "postgresql+psycopg2://fs:p%40ss@one:5433/dagster",
            "postgresql+psycopg2://fs@one:5433/dagster?passfile=/s/pgpass",
        ),
        ("postgresql://fs:p@one/d?sslmode=require", "postgresql://fs@one/d?sslmode=require&passfile=/s/pgpass"),
        ("postgresql://fs@one/d", "postgresql://fs@one/d"),
    ],
)
def test_a_url_names_the_file_instead_of_the_password(url: str, shown: str) -> None:
    assert with_passfile(url, Path("/s/pgpass")) == shown


def test_kafkas_login_is_a_property_in_ascii(tmp_path: Path) -> None:
    write_kafka(tmp_path, "one:9092")
    assert not (tmp_path / "secrets").exists()
    write_kafka(tmp_path, "sasl_ssl://fs:p%22%C3%A9@one:9093")
    file = tmp_path / "secrets" / "kafka.properties"
    login = 'org.apache.kafka.common.security.plain.PlainLoginModule required username="fs" password='
    assert file.read_text() == f'sasl.jaas.config={login}"p\\\\"\\u00e9";\n'
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_programs_do_not_inherit_passwords() -> None:
    given = {"FS_PG_URL": "x", "FS_REDIS_URL": "y", "FS_KAFKA": "z", "FS_HOME": "/h"}
    assert without_secrets(given) == {"FS_HOME": "/h"}
