"""Whether the Avro schema of a stream's records fits the source's columns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from feature_store.dsl.source import StreamSource
from feature_store.dtypes import DType
from feature_store.plan.problems import Problem

_ACCEPTED = {
    "STRING": ("string",),
    "INT": ("int", "long"),
    "FLOAT": ("double", "float", "int", "long"),
    "BOOL": ("boolean",),
}
_INSTANTS = ("timestamp-millis", "timestamp-micros")


def avro_problems(stream: StreamSource) -> Iterator[Problem]:
    """What in the writer's schema does not fit the source; fields that the source does not read may be anything."""
    where = f"source {stream.name!r}"
    try:
        schema = json.loads(stream.avro_schema or "")
    except ValueError as error:
        yield Problem("avro-schema", f"{where}: avro_schema is not JSON: {error}", "give the text of the .avsc file")
        return
    if not isinstance(schema, dict) or schema.get("type") != "record" or not isinstance(schema.get("fields"), list):
        yield Problem("avro-schema", f"{where}: avro_schema is not a record",
                      'write {"type": "record", "name": …, "fields": […]}')  # fmt: skip
        return
    fields = {field.get("name"): field.get("type") for field in schema["fields"] if isinstance(field, dict)}
    for name, dtype in stream.schema.items():
        if name not in fields:
            known = ", ".join(str(field) for field in fields) or "none"
            yield Problem("avro-schema", f"{where}: avro_schema has no field {name!r}", f"its fields are: {known}")
        elif not _fits(fields[name], dtype, stream.time_format):
            message = f"{where}: the Avro field {name!r} is {json.dumps(fields[name])}, its column is {dtype}"
            yield Problem("avro-schema", message, _remedy(dtype))


def _fits(written: Any, dtype: DType, time_format: str) -> bool:
    """Whether values of an Avro type, or a union of it with null, are values of a column's type."""
    if isinstance(written, list):
        some = [branch for branch in written if branch != "null"]
        return len(some) == 1 and _fits_one(some[0], dtype, time_format)
    return _fits_one(written, dtype, time_format)


def _fits_one(written: Any, dtype: DType, time_format: str) -> bool:
    kind, logical = (written.get("type"), written.get("logicalType")) if isinstance(written, dict) else (written, None)
    if dtype.kind != "TIMESTAMP":
        return kind in _ACCEPTED.get(dtype.kind, ())
    return kind == "long" and (logical in _INSTANTS or (logical is None and time_format in ("ms", "us")))


def _remedy(dtype: DType) -> str:
    if dtype.kind == "TIMESTAMP":
        return f"write long with logicalType {' or '.join(_INSTANTS)}, or a plain long with time_format='ms' or 'us'"
    accepted = " or ".join(_ACCEPTED.get(dtype.kind, ()))
    return f"{dtype} reads {accepted}, also in a union with null; or declare the column as the type it has"
