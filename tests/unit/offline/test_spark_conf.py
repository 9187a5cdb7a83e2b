"""FS_SPARK_CONF: how it is read, what it may not say, and how it goes together with the store's own configuration."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from feature_store.errors import StackError
from feature_store.offline.package_archive import package_archive
from feature_store.offline.session import configuration
from feature_store.offline.spark_conf import merged, read_conf
from feature_store.settings import Settings

OWN = {
    "spark.executor.memory": "1g",
    "spark.jars": "/own.jar",
    "spark.driver.extraJavaOptions": "-Duser.timezone=UTC -XX:+UseSerialGC",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.catalog.fs.cache-enabled": "false",
}


def settings_of(home: Path, **more: str) -> Settings:
    services = {"FS_HOME": str(home), "FS_PG_URL": "postgresql://fs:word@db.example", "FS_REDIS_URL": "redis://r"}
    return Settings.load(services | more)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("  \n", {}),
        ("spark.a=1", {"spark.a": "1"}),
        ("spark.a=1,spark.b=2", {"spark.a": "1", "spark.b": "2"}),
        ("spark.jars=/a.jar,/b.jar, spark.b = 2", {"spark.jars": "/a.jar,/b.jar", "spark.b": "2"}),
        ("spark.a=x=y\n# a comment\n\nspark.b=ü", {"spark.a": "x=y", "spark.b": "ü"}),
        ("spark.a=", {"spark.a": ""}),
        ("spark.a=1,spark.a=2", {"spark.a": "2"}),
    ],
)
def test_pairs(text: str, found: dict[str, str]) -> None:
    assert read_conf(text) == found


def test_a_file_is_read_as_spark_reads_its_defaults(tmp_path: Path) -> None:
    file = tmp_path / "spark.conf"
    file.write_text("# ours\nspark.executor.memory   4g\nspark.b=1,2,c=3\nspark.c: x\n", encoding="utf-8")
    assert read_conf(str(file)) == {"spark.executor.memory": "4g", "spark.b": "1,2,c=3", "spark.c": "x"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("/no/such/file", "cannot be read (No such file or directory)"),
        ("sprak.executor.memory=2g", "is not a pair"),
        ("spark.a=1,sprak.b=2", "'sprak.b=2' is not a pair"),
        ("=2", "is not a pair"),
    ],
)
def test_what_is_neither_is_refused(text: str, reason: str) -> None:
    with pytest.raises(StackError) as raised:
        read_conf(text)
    assert reason in str(raised.value)
    assert raised.value.code == "spark-conf"


def test_users_win_and_lists_are_joined() -> None:
    added = {
        "spark.executor.memory": "8g",
        "spark.jars": "/theirs.jar",
        "spark.driver.extraJavaOptions": "-XX:+UseG1GC -Duser.timezone=Asia/Tokyo -Da=b",
        "spark.new": "1",
        "spark.sql.session.timeZone": "utc",
    }
    result = merged(OWN, added)
    assert (result["spark.executor.memory"], result["spark.new"]) == ("8g", "1")
    assert result["spark.jars"] == "/own.jar,/theirs.jar"
    options = result["spark.driver.extraJavaOptions"].split()
    assert options == ["-Duser.timezone=UTC", "-XX:+UseG1GC", "-Da=b"], "Java takes one collector, and we one time zone"


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("spark.sql.session.timeZone", "Asia/Tokyo", "with UTC"),
        ("spark.sql.ansi.enabled", "false", "with true"),
        ("spark.sql.sources.v2.bucketing.allowJoinKeysSubsetOfPartitionKeys.enabled", "true", "with false"),
        ("spark.sql.catalog.fs.cache-enabled", "true", "FS_WAREHOUSE"),
        ("spark.master", "yarn", "FS_SPARK_MASTER"),
        ("spark.hadoop.fs.s3a.secret.key", "x", "environment"),
        ("spark.sql.catalog.fs.s3.secret-access-key", "x", "environment"),
        ("spark.sql.catalog.fs.s3.access-key-id", "x", "environment"),
        ("spark.authenticate.secret", "x", "environment"),
    ],
)
def test_what_rows_depend_on_and_secrets_are_refused(name: str, value: str, remedy: str) -> None:
    with pytest.raises(StackError, match="cannot be set") as raised:
        merged(OWN, {name: value})
    assert name in str(raised.value)
    assert remedy in str(raised.value)
    assert f"{value}'" not in str(raised.value), "a secret is not shown"


def test_on_this_machine_nobody_else_reaches_spark(tmp_path: Path) -> None:
    for master in ("local", "local[4]", "local[*, 3]"):
        here = configuration(settings_of(tmp_path, FS_SPARK_MASTER=master))
        assert (here["spark.driver.host"], here["spark.driver.bindAddress"]) == ("127.0.0.1", "127.0.0.1")


def test_on_a_cluster_spark_or_the_user_says_where_the_driver_is(tmp_path: Path) -> None:
    for master in ("spark://m:7077", "local-cluster[2,1,512]", "yarn", "k8s://https://k"):
        there = configuration(settings_of(tmp_path, FS_SPARK_MASTER=master))
        assert not {"spark.driver.host", "spark.driver.bindAddress", "spark.hadoop.fs.file.impl"} & set(there)
    named = settings_of(tmp_path, FS_SPARK_MASTER="yarn", FS_SPARK_CONF="spark.driver.host=driver.example")
    assert configuration(named)["spark.driver.host"] == "driver.example"


def test_a_bucket_is_told_to_the_catalog_and_no_secret_is(tmp_path: Path) -> None:
    secrets = {"AWS_ACCESS_KEY_ID": "key-of-mine", "AWS_SECRET_ACCESS_KEY": "secret-of-mine"}
    place = {"FS_WAREHOUSE": "s3://shop/features/", "FS_S3_ENDPOINT": "http://s3.example:9000/"}
    found = configuration(settings_of(tmp_path, **place, **secrets))
    of_catalog = {name.removeprefix("spark.sql.catalog.fs."): value for name, value in found.items()}
    assert of_catalog["io-impl"] == "org.apache.iceberg.aws.s3.S3FileIO"
    assert of_catalog["warehouse"] == "s3://shop/features"
    assert (of_catalog["s3.endpoint"], of_catalog["s3.path-style-access"]) == ("http://s3.example:9000", "true")
    assert not [value for value in found.values() if "of-mine" in value or "word" in value]
    assert "spark.sql.catalog.fs.io-impl" not in configuration(settings_of(tmp_path, **secrets))


def test_the_archive_of_the_package_can_be_imported_and_is_made_once(tmp_path: Path) -> None:
    archive = package_archive(tmp_path)
    made = archive.stat().st_mtime_ns
    assert package_archive(tmp_path) == archive
    assert archive.stat().st_mtime_ns == made
    with zipfile.ZipFile(archive) as content:
        assert {"feature_store/__init__.py", "feature_store/pit/kernel.py"} <= set(content.namelist())
    look = "import feature_store.pit.kernel as kernel; print(kernel.__file__)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", look], env={"PYTHONPATH": str(archive)}, capture_output=True, text=True
    )
    assert done.stdout.startswith(str(archive)), done.stderr
