"""Settings: the environment wins over the running stack, and a wrong value is named."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from feature_store import stack_file
from feature_store.errors import StackError
from feature_store.settings import Settings
from feature_store.stack_file import Connections, Identity, StackRecord
from feature_store.stack_settings import StackSettings

SERVER = "postgresql://anna:p%40ss%2Fword@db.example:5433?sslmode=require"
CONNECTIONS = Connections(
    pg_url="postgresql://fs:secret@127.0.0.1:14050",
    redis_url="redis://:secret@127.0.0.1:14051/0",
    java_home="/state/java",
    spark_jars=("/state/jars/a.jar", "/state/jars/b.jar"),
    dagster_url="http://127.0.0.1:14052",
    kafka_servers="127.0.0.1:14053",
    flink_url="http://127.0.0.1:14055",
    flink_python="/state/flink-venv/bin/python",
    flink_home="/state/flink",
    flink_state="file:///state/flink",
    kernel_jar="/state/flink/kernel-1.jar",
    s3_jars=("/state/jars/s3.jar",),
)


def running_stack(home: Path) -> dict[str, str]:
    """An environment whose state folder has the record of a stack that this very process supervises."""
    myself = Identity.of(os.getpid())
    assert myself is not None
    stack_file.write(home, StackRecord("ready", myself, dagster=True, connections=CONNECTIONS))
    return {"FS_HOME": str(home)}


def test_the_running_stack_gives_everything(tmp_path: Path) -> None:
    settings = Settings.load(running_stack(tmp_path))
    assert settings.home == tmp_path
    assert settings.pg_url == CONNECTIONS.pg_url
    assert settings.redis_url == CONNECTIONS.redis_url
    assert settings.java_home == Path("/state/java")
    assert settings.spark_jars == (Path("/state/jars/a.jar"), Path("/state/jars/b.jar"))
    assert settings.dagster_url == CONNECTIONS.dagster_url
    assert settings.warehouse == f"file://{tmp_path}/warehouse"
    assert settings.spark_memory == "2g"
    assert (settings.kafka_servers, settings.flink_url) == ("127.0.0.1:14053", "http://127.0.0.1:14055")
    assert settings.flink_python == Path("/state/flink-venv/bin/python")
    assert (settings.flink_home, settings.flink_state) == (Path("/state/flink"), "file:///state/flink")
    assert settings.kernel_jar == Path("/state/flink/kernel-1.jar")


def test_the_environment_wins(tmp_path: Path) -> None:
    chosen = {
        "FS_PG_URL": SERVER,
        "FS_REDIS_URL": "rediss://cache.example:6380/3",
        "FS_JAVA_HOME": "/opt/java",
        "FS_WAREHOUSE": "s3://bucket/features/",
        "FS_SPARK_JARS": "/x/one.jar:/x/two.jar",
        "FS_SPARK_MEMORY": "6g",
        "FS_DAGSTER_URL": "https://dagster.example",
        "FS_KAFKA": "one.example:9092,two.example:9092",
        "FS_FLINK_URL": "https://flink.example/",
        "FS_FLINK_PYTHON": "/opt/flink/bin/python",
        "FS_FLINK_STATE": "s3://bucket/flink/",
    }
    settings = Settings.load({**running_stack(tmp_path), **chosen})
    assert settings.pg_url == SERVER
    assert settings.redis_url == "rediss://cache.example:6380/3"
    assert settings.java_home == Path("/opt/java")
    assert settings.warehouse == "s3://bucket/features"
    assert settings.spark_jars == (Path("/x/one.jar"), Path("/x/two.jar"))
    assert settings.spark_memory == "6g"
    assert settings.dagster_url == "https://dagster.example"
    assert settings.kafka_servers == "one.example:9092,two.example:9092"
    assert settings.flink_url == "https://flink.example"
    assert settings.flink_python == Path("/opt/flink/bin/python")
    assert settings.flink_state == "s3://bucket/flink"


def test_the_memory_of_a_join_and_the_packages_of_definitions(tmp_path: Path) -> None:
    environ = running_stack(tmp_path)
    assert (Settings.load(environ).join_memory, Settings.load(environ).definition_packages) == (
        4 << 30,
        ("feature_defs",),
    )
    chosen = Settings.load(environ | {"FS_JOIN_MEMORY": "512M", "FS_DEFINITION_PACKAGES": "shop.defs:ads"})
    assert (chosen.join_memory, chosen.definition_packages) == (512 << 20, ("shop.defs", "ads"))
    for wrong in ("much", "255m", "4", "-1g", "0g"):
        with pytest.raises(StackError, match="is not a size of memory"):
            Settings.load(environ | {"FS_JOIN_MEMORY": wrong})


def test_application_clusters_need_a_command_and_an_address_for_each_job(tmp_path: Path) -> None:
    environ = running_stack(tmp_path)
    named = {
        "FS_FLINK_URL": "http://{job}.flink:8081/",
        "FS_FLINK_DEPLOY": "deploy -n features",
        "FS_FLINK_KERNEL": "/k.jar",
    }
    settings = Settings.load(environ | named)
    assert (settings.flink_url, settings.flink_deploy) == ("http://{job}.flink:8081", "deploy -n features")
    assert settings.flink_kernel == "/k.jar"
    asked = StackSettings.load(named)
    assert StackSettings.from_json(asked.to_json()) == asked
    assert asked.as_text().items() >= {"FS_FLINK_DEPLOY": "deploy -n features", "FS_FLINK_KERNEL": "/k.jar"}.items()
    for half in (
        {"FS_FLINK_URL": "http://{job}.flink:8081"},
        {"FS_FLINK_URL": "http://f", "FS_FLINK_DEPLOY": "deploy"},
    ):
        with pytest.raises(StackError, match="need both a command and an address for each job"):
            Settings.load(environ | half)
    with pytest.raises(StackError, match="need both"):
        StackSettings.load({"FS_FLINK_DEPLOY": "deploy"})


def test_a_warehouse_in_a_bucket_adds_the_jars_that_it_needs(tmp_path: Path) -> None:
    in_bucket = {"FS_WAREHOUSE": "s3://bucket/features", "FS_S3_ENDPOINT": "http://s3.example:9000"}
    settings = Settings.load(running_stack(tmp_path) | in_bucket)
    assert settings.spark_jars == tuple(map(Path, (*CONNECTIONS.spark_jars, *CONNECTIONS.s3_jars)))
    assert settings.object_storage.endpoint == "http://s3.example:9000"
    chosen = Settings.load(running_stack(tmp_path) | in_bucket | {"FS_SPARK_JARS": "/x/one.jar"})
    assert chosen.spark_jars == (Path("/x/one.jar"),)
    asked = StackSettings.load(in_bucket)
    assert StackSettings.from_json(asked.to_json()) == asked
    assert asked.as_text()["FS_WAREHOUSE"] == "s3://bucket/features"
    with pytest.raises(StackError, match="names no bucket"):
        Settings.load(running_stack(tmp_path) | {"FS_WAREHOUSE": "s3:///features"})


def test_existing_services_need_no_stack(tmp_path: Path) -> None:
    named = {"FS_HOME": str(tmp_path), "FS_PG_URL": SERVER, "FS_REDIS_URL": "redis://cache.example"}
    assert Settings.load(named).spark_jars == (), "a cluster has its own jars"
    assert Settings.load({**named, "FS_SPARK_JARS": ""}).spark_jars == ()


def test_a_stack_without_streams_says_so_to_those_who_need_them(tmp_path: Path) -> None:
    environ = running_stack(tmp_path)
    myself = Identity.of(os.getpid())
    assert myself is not None
    jar = tmp_path / "kernel.jar"
    jar.touch()
    with_streams = replace(CONNECTIONS, kernel_jar=str(jar))
    for connections in (
        replace(with_streams, kafka_servers=""),
        replace(with_streams, flink_url=""),
        replace(with_streams, kernel_jar=""),
    ):
        stack_file.write(tmp_path, StackRecord("ready", myself, dagster=True, connections=connections))
        with pytest.raises(StackError, match=r"runs without Kafka and Flink -> run ./fs up --streams"):
            Settings.load(environ).require_streams()
    stack_file.write(tmp_path, StackRecord("ready", myself, dagster=True, connections=with_streams))
    Settings.load(environ).require_streams()


def test_urls_of_a_database(tmp_path: Path) -> None:
    settings = Settings.load({**running_stack(tmp_path), "FS_PG_URL": SERVER})
    assert settings.database_url("shop") == (
        "postgresql+psycopg2://anna:p%40ss%2Fword@db.example:5433/shop?sslmode=require"
    )
    assert settings.database_url("shop", driver="postgresql").startswith("postgresql://anna:")
    assert settings.jdbc_url("shop") == "jdbc:postgresql://db.example:5433/shop?sslmode=require"
    assert (settings.pg_user, settings.pg_password) == ("anna", "p@ss/word")


@pytest.mark.parametrize("record", [None, "", '{"state": "rea', '{"state": "ready"}', "[]"])
def test_no_stack_is_said_with_a_remedy(tmp_path: Path, record: str | None) -> None:
    if record is not None:
        (tmp_path / "stack.json").write_text(record)
    for half in ({}, {"FS_PG_URL": SERVER}, {"FS_REDIS_URL": "redis://cache.example"}):
        with pytest.raises(StackError, match=r"no stack is running -> run ./fs up, or set FS_PG_URL and FS_REDIS_URL"):
            Settings.load({"FS_HOME": str(tmp_path), **half})


def test_the_record_of_a_dead_supervisor_describes_the_past(tmp_path: Path) -> None:
    reused = StackRecord("ready", Identity(os.getpid(), "an earlier start"), dagster=True, connections=CONNECTIONS)
    stack_file.write(tmp_path, reused)
    assert stack_file.read(tmp_path) == reused
    with pytest.raises(StackError, match="no stack is running"):
        Settings.load({"FS_HOME": str(tmp_path)})


@pytest.mark.parametrize("value", ["0", "many", "-1", "1.5"])
def test_a_wrong_number_of_rows_is_named(value: str) -> None:
    named = {"FS_PG_URL": "postgresql://u@db.example", "FS_REDIS_URL": "redis://r.example"}
    assert Settings.load(named | {"FS_MATERIALIZE_ROWS": "5000"}).materialize_rows == 5000
    assert Settings.load(named).materialize_rows == 1_000_000
    with pytest.raises(StackError, match=f"FS_MATERIALIZE_ROWS: '{value}' is not a number of rows"):
        Settings.load(named | {"FS_MATERIALIZE_ROWS": value})


@pytest.mark.parametrize(
    ("variable", "value", "cause"),
    [
        ("FS_PORT", "eighty", "'eighty' is not a port"),
        ("FS_PORT", "80", "'80' is not a port"),
        ("FS_PORT", "-1", "'-1' is not a port"),
        ("FS_POOL_SLOTS", "0", "'0' is not a number of slots"),
        ("FS_POOL_SLOTS", "many", "'many' is not a number of slots"),
        ("FS_FLINK_URL", "127.0.0.1:8081", "is not the address of a web server"),
        ("FS_PG_URL", "mysql://db.example", "is not the URL of a PostgreSQL server"),
        ("FS_PG_URL", "db.example:5432", "is not the URL of a PostgreSQL server"),
        ("FS_PG_URL", "postgresql://db.example/mine", "names the database 'mine'"),
    ],
)
def test_a_wrong_value_is_named(variable: str, value: str, cause: str) -> None:
    with pytest.raises(StackError) as failure:
        StackSettings.load({variable: value})
    assert str(failure.value).startswith(f"{variable}: {cause}")
    assert " -> " in str(failure.value)


def test_what_a_stack_is_started_with(tmp_path: Path) -> None:
    settings = StackSettings.load({"FS_HOME": str(tmp_path), "FS_PG_URL": "postgres://u:secret@db.example:5432/"})
    assert (settings.port, settings.port_is_chosen) == (14050, False)
    assert settings.pg_url == "postgresql://u:secret@db.example:5432"
    assert settings.jars == tmp_path / "jars"
    assert (settings.kafka, settings.flink_url, settings.flink_python) == ("", "", None)
    assert settings.flink_state == f"file://{tmp_path}/flink"
    assert "secret" not in str(settings.as_text())
    assert StackSettings.from_json(settings.to_json()) == settings
    assert StackSettings.load({"FS_PORT": "14050"}).port_is_chosen

    named = StackSettings.load(
        {"FS_KAFKA": "k:9092", "FS_FLINK_URL": "http://f:8081", "FS_FLINK_PYTHON": "/v/bin/python"}
    )
    assert StackSettings.from_json(named.to_json()) == named
    assert named.flink_python == Path("/v/bin/python")
    assert set(settings.as_text()) == set(named.as_text())


def test_online_stores_have_names(tmp_path: Path) -> None:
    text = "hot=redis://:p,w@a:1,b:2/0, cold_2=rediss://c?ssl_ca_certs=/ca.pem"
    stores = {"hot": "redis://:p,w@a:1,b:2/0", "cold_2": "rediss://c?ssl_ca_certs=/ca.pem"}
    named = {"FS_HOME": str(tmp_path), "FS_PG_URL": SERVER, "FS_REDIS_URL": "redis://a", "FS_ONLINE_STORES": text}
    settings = Settings.load(named)
    assert settings.online_stores == stores
    assert [settings.online_store_url(name) for name in ("", "hot")] == ["redis://a", stores["hot"]]
    with pytest.raises(StackError, match="add warm=redis://host:port"):
        settings.online_store_url("warm")
    asked = StackSettings.load(named)
    assert StackSettings.from_json(asked.to_json()).online_stores == stores
    assert asked.as_text()["FS_ONLINE_STORES hot"] == "a:1,b:2"
    assert Settings.load(running_stack(tmp_path)).online_stores == {}


@pytest.mark.parametrize(
    "text", ["redis://a", "hot=http://a", "Hot=redis://a", "hot=redis://a,hot=redis://b", "hot=", "hot=redis://a,cold="]
)
def test_online_stores_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(StackError, match="FS_ONLINE_STORES") as error:
        StackSettings.load({"FS_ONLINE_STORES": text})
    assert error.value.code == "online-stores"
