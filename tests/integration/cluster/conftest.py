"""A cluster as users have one: Spark's workers are other processes, and the warehouse is a bucket."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pyiceberg.catalog import Catalog

from feature_store.local import jars
from feature_store.settings import Settings
from tests.integration.cluster import runs
from tests.integration.cluster.driver import Driver
from tests.integration.cluster.own_bucket import CLIENT, CREDENTIALS, Bucket, own_bucket
from tests.integration.cluster.own_spark import SparkCluster, own_cluster
from tests.integration.offline_setting import Shop

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture(scope="package")
def bucket_jars(jars_folder: Path) -> list[Path]:
    """The S3 server, and what Spark needs for a bucket."""
    lock = jars.read_lock()
    wanted = [*jars.select(lock, "tests"), *jars.select(lock, "s3")]
    return list(jars.fetch(wanted, jars_folder, os.environ.get("FS_JAR_MIRROR", ""), lambda *_: None))


@pytest.fixture(scope="package")
def bucket(stack: Settings, bucket_jars: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    bucket = own_bucket(stack.java_home, bucket_jars[0], tmp_path_factory.mktemp("bucket"))
    bucket.server.start()
    yield bucket
    bucket.server.kill()


@pytest.fixture(scope="package")
def cluster(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkCluster]:
    cluster = own_cluster(stack.java_home, tmp_path_factory.mktemp("cluster"), CREDENTIALS)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.end()


@pytest.fixture(scope="package")
def event_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where Spark notes what ran where."""
    return tmp_path_factory.mktemp("event-log")


@pytest.fixture(scope="package")
def in_bucket(stack: Settings, bucket: Bucket) -> Iterator[Settings]:
    """The stack with its warehouse in the bucket, for this process."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in (CREDENTIALS | CLIENT).items():
            environment.setenv(name, value)
        place = Settings.load({"FS_HOME": str(stack.home), **bucket.environment})
        yield replace(stack, warehouse=place.warehouse, object_storage=place.object_storage)


@pytest.fixture(scope="package")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the source, which all machines of the cluster see."""
    return tmp_path_factory.mktemp("events")


@pytest.fixture(scope="package")
def here(spark: SparkSession, stack: Settings, catalog: Catalog, events: Path) -> Shop:
    """The same shop on this machine alone, with its warehouse in a folder."""
    shop = Shop(spark, stack, catalog, events)
    shop.write(runs.many_events())
    return shop


@pytest.fixture(scope="package")
def driver(
    bucket: Bucket, cluster: SparkCluster, event_log: Path, events: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Driver]:
    """A session on the cluster, with settings as users have them."""
    conf = tmp_path_factory.mktemp("driver") / "spark.conf"
    conf.write_text(
        "# the cluster of the tests\n"
        "spark.driver.host 127.0.0.1\n"
        "spark.driver.bindAddress 127.0.0.1\n"
        "spark.executor.memory 600m\n"
        "spark.cores.max 2\n"
        "spark.scheduler.minRegisteredResourcesRatio 1.0\n"
        "spark.executor.extraJavaOptions -XX:+UseSerialGC\n"
        "spark.sql.codegen.wholeStage = false\n"
        "spark.sql.codegen.factoryMode = NO_CODEGEN\n"
        "spark.sql.shuffle.partitions = 4\n"
        "spark.eventLog.enabled = true\n"
        "spark.eventLog.compress = false\n"
        "spark.eventLog.rolling.enabled = false\n"
        f"spark.eventLog.dir = file://{event_log}\n"
        "spark.sql.catalog.fs.s3.retry.num-retries = 1\n"
        "spark.sql.catalog.fs.s3.retry.min-wait-ms = 100\n"
    )
    environment = {
        **bucket.environment,
        "FS_SPARK_MASTER": cluster.url,
        "FS_SPARK_CONF": str(conf),
        "FS_SPARK_PYTHON": sys.executable,
    }
    driver = Driver(environment, events)
    yield driver
    driver.end()
