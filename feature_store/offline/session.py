"""The Spark session: Iceberg's catalog, UTC, ANSI arithmetic, and no downloads."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from feature_store.errors import StackError
from feature_store.offline.catalog import CATALOG
from feature_store.secret_files import write_pgpass
from feature_store.settings import LOCAL_FILES_CLASS, Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


_LATE_OPTIMIZER = (
    "-XX:Tier4InvocationThreshold=50000 -XX:Tier4MinInvocationThreshold=6000 "
    "-XX:Tier4CompileThreshold=150000 -XX:Tier4BackEdgeThreshold=400000"
)
"""Java's optimizing compiler begins at ten times its usual counts: in short runs it takes a fifth of the time, for
code that soon ends; long loops reach them at once."""


@contextmanager
def spark_session(settings: Settings, name: str) -> Iterator[SparkSession]:
    """A session that is stopped at the end, unless it was there before; its Java process ends with this one.

    Raises:
        StackError: if Java or a jar is missing, or Spark does not start.
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
    os.environ["JAVA_HOME"] = str(settings.java_home)
    os.environ["PYSPARK_PYTHON"] = sys.executable  # workers would otherwise take python3 from PATH
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    builder = SparkSession.builder.appName(name)
    for key, value in _configuration(settings).items():
        builder = builder.config(key, value)
    try:
        session = builder.getOrCreate()
    except Exception as error:
        raise StackError(
            f"Spark does not start: {str(error).splitlines()[0]}",
            where=f"JAVA_HOME={settings.java_home}",
            remedy="run ./fs status, then ./fs logs",
            code="spark-start",
        ) from error
    try:
        yield session
    finally:
        session.stop()


def _configuration(settings: Settings) -> dict[str, str]:
    """What stands in the arguments of Spark's Java process, so without a password."""
    password = f'"-Dorg.postgresql.pgpassfile={write_pgpass(settings.home, settings.pg_url)}"'
    catalog = f"spark.sql.catalog.{CATALOG}"
    return {
        "spark.master": settings.spark_master,
        "spark.driver.memory": settings.spark_memory,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.extraJavaOptions": f"-Duser.timezone=UTC -XX:+UseSerialGC {_LATE_OPTIMIZER} {password}",
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
        f"{catalog}.warehouse": settings.warehouse,
        # With the cache on, Spark keeps stale metadata after a commit by pyiceberg or Flink.
        f"{catalog}.cache-enabled": "false",
        **_local_files(settings),
    }


def _local_files(settings: Settings) -> dict[str, str]:
    """Hadoop's way to the files of this machine, if all of Spark is here; on the class path before all jars."""
    if not (settings.spark_master.startswith("local") and settings.local_files_jar.is_file()):
        return {}
    return {
        "spark.driver.extraClassPath": str(settings.local_files_jar),
        "spark.hadoop.fs.file.impl": LOCAL_FILES_CLASS,
    }
