"""The Spark session: Iceberg's catalog, UTC, ANSI arithmetic, and no downloads; on this machine or on a cluster."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from feature_store.errors import StackError
from feature_store.object_storage import is_in_bucket
from feature_store.offline.catalog import CATALOG, POSTGRES_RESTARTS
from feature_store.offline.package_archive import package_archive
from feature_store.offline.spark_conf import merged, read_conf
from feature_store.secret_files import write_pgpass
from feature_store.settings import LOCAL_FILES_CLASS, Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LOOPBACK = "127.0.0.1"

_LATE_OPTIMIZER = (
    "-XX:Tier4InvocationThreshold=50000 -XX:Tier4MinInvocationThreshold=6000 "
    "-XX:Tier4CompileThreshold=150000 -XX:Tier4BackEdgeThreshold=400000"
)
"""Java's optimizing compiler begins at ten times its usual counts: in short runs it takes a fifth of the time, for
code that soon ends; long loops reach them at once."""


@contextmanager
def spark_session(settings: Settings, name: str) -> Iterator[SparkSession]:
    """A session that is stopped at the end, unless it was there before; its Java process ends with this one.

    Where Spark runs on a cluster, its Python workers get this package, too.

    Raises:
        StackError: if Java or a jar is missing, FS_SPARK_CONF cannot be used, or Spark does not start.
    """
    from pyspark.sql import SparkSession

    if SparkSession.getActiveSession() is not None:
        yield SparkSession.builder.getOrCreate()
        return
    missing = [str(jar) for jar in settings.spark_jars if not jar.exists()]
    if missing:
        raise StackError(
            f"missing jars: {', '.join(missing)}", remedy="run ./fs up, which fetches them", code="missing-jars"
        )
    chosen = configuration(settings)
    os.environ["JAVA_HOME"] = str(settings.java_home)
    # Workers would otherwise take python3 from PATH.
    os.environ["PYSPARK_PYTHON"] = settings.spark_python or sys.executable
    if _is_here(settings):
        os.environ.setdefault("SPARK_LOCAL_IP", LOOPBACK)
    builder = SparkSession.builder.appName(name)
    for key, value in chosen.items():
        builder = builder.config(key, value)
    try:
        session = builder.getOrCreate()
        if not _is_here(settings):
            session.sparkContext.addPyFile(str(package_archive(settings.home / "spark")))
    except Exception as error:
        raise StackError(
            f"Spark does not start: {str(error).splitlines()[0]}",
            where=f"JAVA_HOME={settings.java_home}, {settings.spark_master}",
            remedy="run ./fs status, then ./fs logs; of a cluster, look at FS_SPARK_MASTER and FS_SPARK_CONF",
            code="spark-start",
        ) from error
    try:
        yield session
    finally:
        session.stop()


def configuration(settings: Settings) -> dict[str, str]:
    """All that Spark is told, with what users add.

    Raises:
        StackError: if that cannot be used.
    """
    return merged(_own_configuration(settings), read_conf(settings.spark_conf))


def _own_configuration(settings: Settings) -> dict[str, str]:
    """What stands in the arguments of Spark's Java process, so without a password."""
    password = f'"-Dorg.postgresql.pgpassfile={write_pgpass(settings.home, settings.pg_url)}"'
    catalog = f"spark.sql.catalog.{CATALOG}"
    return {
        "spark.master": settings.spark_master,
        "spark.driver.memory": settings.spark_memory,
        "spark.driver.extraJavaOptions": f"-Duser.timezone=UTC -XX:+UseSerialGC {_LATE_OPTIMIZER} {password}",
        "spark.executor.extraJavaOptions": "-Duser.timezone=UTC",
        "spark.jars": ",".join(str(jar) for jar in settings.spark_jars),
        "spark.local.dir": str(settings.home / "spark"),
        "spark.log.level": "ERROR",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.ansi.enabled": "true",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": settings.spark_partitions,
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        catalog: "org.apache.iceberg.spark.SparkCatalog",
        f"{catalog}.catalog-impl": "org.apache.iceberg.jdbc.JdbcCatalog",
        f"{catalog}.uri": settings.jdbc_url("iceberg"),
        f"{catalog}.jdbc.user": settings.pg_user,
        f"{catalog}.jdbc.schema-version": "V1",
        f"{catalog}.retryable_status_codes": POSTGRES_RESTARTS,
        f"{catalog}.warehouse": settings.warehouse,
        # With the cache on, Spark keeps stale metadata after a commit by pyiceberg or Flink.
        f"{catalog}.cache-enabled": "false",
        **_storage(settings, catalog),
        **_here(settings),
    }


def _is_here(settings: Settings) -> bool:
    """Whether all of Spark is in one process of this machine."""
    return re.fullmatch(r"local(\[.*\])?", settings.spark_master) is not None


def _storage(settings: Settings, catalog: str) -> dict[str, str]:
    """How Iceberg reads and writes the files of a warehouse in a bucket; Hadoop's way is that of all others."""
    if not is_in_bucket(settings.warehouse):
        return {}
    return {f"{catalog}.{name}": value for name, value in settings.object_storage.for_java().items()}


def _here(settings: Settings) -> dict[str, str]:
    """Where all of Spark is here: nobody else reaches it, and Hadoop sees files through a class before all jars."""
    if not _is_here(settings):
        return {}
    address = {"spark.driver.host": LOOPBACK, "spark.driver.bindAddress": LOOPBACK}
    if not settings.local_files_jar.is_file():
        return address
    return address | {
        "spark.driver.extraClassPath": str(settings.local_files_jar),
        "spark.hadoop.fs.file.impl": LOCAL_FILES_CLASS,
    }
