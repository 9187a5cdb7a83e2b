"""FS_SPARK_CONF: configuration that users add to a Spark session, read, checked and joined with the store's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from feature_store.errors import StackError
from feature_store.offline.catalog import CATALOG

VARIABLE = "FS_SPARK_CONF"

_NEXT_PAIR = re.compile(r",\s*(?=[A-Za-z][\w.-]*\s*=)")
_PAIR = re.compile(r"(spark\.[\w.-]+)(?:\s*[=:]\s*|\s+)(.*)")
_SECRET = re.compile(r"(secret|password|token|(access|secret)([.-]access)?[.-]?key([.-]id)?)$", re.IGNORECASE)
_COLLECTOR = re.compile(r"-XX:\+Use\w+GC\b")
_OWN_CATALOG = f"spark.sql.catalog.{CATALOG}"
_SUBSET_JOINS = "spark.sql.sources.v2.bucketing.allowJoinKeysSubsetOfPartitionKeys.enabled"

_REQUIRED = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.timestampType": "TIMESTAMP_LTZ",
    _SUBSET_JOINS: "false",  # Spark 4.1 with Iceberg 1.12 loses matches of chained joins with it, without an error
}
"""What rows depend on."""
_JOINED = {
    "spark.jars": ",",
    "spark.sql.extensions": ",",
    "spark.driver.extraClassPath": ":",
    "spark.driver.extraJavaOptions": " ",
    "spark.executor.extraJavaOptions": " ",
}
"""Lists that have the store's entries beside the users', by what separates them."""


def read_conf(text: str) -> dict[str, str]:
    """The configuration in FS_SPARK_CONF.

    Args:
        text: the path of a file as spark-defaults.conf, or pairs `spark.name=value` with commas or newlines in between.

    Raises:
        StackError: naming the line, if it is neither.
    """
    if "=" not in text and text.strip():
        return _read_file(Path(text.strip()).expanduser())
    return _parse(_NEXT_PAIR.sub("\n", text).splitlines(), VARIABLE)


def merged(own: Mapping[str, str], added: Mapping[str, str]) -> dict[str, str]:
    """The store's configuration with that of users, whose values win; lists such as `spark.jars` are joined.

    Raises:
        StackError: if a value would change what rows are, where the store's tables are, or be seen by everybody.
    """
    for name, value in added.items():
        _check(own, name, value)
    result = {**own, **added}
    for name, separator in _JOINED.items():
        if own.get(name) and added.get(name):
            first = _COLLECTOR.sub("", own[name]) if _COLLECTOR.search(added[name]) else own[name]
            second = re.sub(r"-Duser\.timezone=\S+", "", added[name])
            result[name] = f"{first}{separator}{second}"
    return result


def _read_file(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StackError(
            f"{path} cannot be read ({getattr(error, 'strerror', None) or error})",
            where=VARIABLE,
            remedy="name a file like spark-defaults.conf, or write spark.name=value,spark.name=value",
            code="spark-conf",
        ) from error
    return _parse(lines, str(path))


def _parse(lines: list[str], where: str) -> dict[str, str]:
    found = {}
    for line in map(str.strip, lines):
        if not line or line.startswith("#"):
            continue
        pair = _PAIR.fullmatch(line)
        if pair is None:
            raise StackError(
                f"{line!r} is not a pair spark.name=value",
                where=where,
                remedy="correct it; a value that has both commas and = needs a line of its own, or a file",
                code="spark-conf",
            )
        found[pair[1]] = pair[2].strip()
    return found


def _check(own: Mapping[str, str], name: str, value: str) -> None:
    remedy = ""
    if name == "spark.master":
        remedy = "set FS_SPARK_MASTER"
    elif _SECRET.search(name):
        remedy = "give secrets to the driver and the workers in their environment: arguments are seen by everybody"
    elif name in _REQUIRED and value.lower() != _REQUIRED[name].lower():
        remedy = f"leave it out: rows would be others than with {_REQUIRED[name]}"
    elif (name == _OWN_CATALOG or name.startswith(f"{_OWN_CATALOG}.")) and own.get(name, value) != value:
        remedy = "leave it out: Python reads the same tables; FS_WAREHOUSE, FS_S3_… and FS_PG_URL say where they are"
    if remedy:
        raise StackError(f"{name} cannot be set", where=VARIABLE, remedy=remedy, code="spark-conf")
