"""A client of the server's gRPC service, written from `online.proto`: rows to columns and columns to values."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from feature_store.dtypes import DType, from_micros, to_micros
from feature_store.plan.schema import ViewSchema
from feature_store.remote.online_pb2 import Column, Feature, Input, ReadRequest, ReadResponse
from feature_store.remote.online_pb2_grpc import OnlineStub
from tests.integration.serving.server_process import ServerProcess

ARRAYS = {"FLOAT": "doubles", "INT": "ints", "STRING": "strings", "BOOL": "bools", "TIMESTAMP": "timestamps"}
SECONDS = 60.0
"""How long a call may take, however busy the machine is."""

Refusal = tuple[grpc.StatusCode, str]


@contextmanager
def channel_to(server: ServerProcess) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        yield channel


@contextmanager
def stub_of(server: ServerProcess) -> Iterator[OnlineStub]:
    with channel_to(server) as channel:
        yield OnlineStub(channel)


def bearer(secret: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {secret}"),)


def column_of(dtype: DType, values: Sequence[Any]) -> Column:
    """A column of scalars."""
    column, plain = Column(), [to_micros(v) if dtype.kind == "TIMESTAMP" and v is not None else v for v in values]
    some = next((value for value in plain if value is not None), type_default(dtype))
    getattr(column, ARRAYS[dtype.kind]).extend(some if value is None else value for value in plain)
    column.nulls.extend(i for i, value in enumerate(plain) if value is None)
    return column


def type_default(dtype: DType) -> Any:
    return {"FLOAT": 0.5, "INT": 7, "STRING": "x", "BOOL": True, "TIMESTAMP": 5}[dtype.kind]


def request_of(
    view: ViewSchema, rows: Sequence[Mapping[str, Any]], request: Mapping[str, Any], chance: random.Random
) -> ReadRequest:
    """A request for rows; columns with the same value on all of them are sometimes shortened to it."""
    asked = ReadRequest(id=view.id)
    for key in view.keys:
        values = [row[key.name] for row in rows]
        if all(value == values[0] for value in values) and chance.random() < 0.5 and len(view.keys) > 1:
            values = values[:1]
        asked.keys.append(Input(name=key.name, column=column_of(key.dtype, values)))
    if asked.keys and all(len(values_of_input(each)) == 1 for each in asked.keys):
        asked.keys[0].column.CopyFrom(column_of(view.keys[0].dtype, [row[view.keys[0].name] for row in rows]))
    for value in view.request:
        each = [request[value.name]] * (1 if chance.random() < 0.5 else len(rows))
        asked.request.append(Input(name=value.name, column=column_of(value.dtype, each)))
    return asked


def values_of_input(each: Input) -> Sequence[Any]:
    return next(getattr(each.column, array) for array in ARRAYS.values() if getattr(each.column, array))


def values_of(feature: Feature, column: Column) -> list[Any]:
    """The values of a column of an answer, one for each row."""
    kind = Feature.Type.Name(feature.type)
    values: list[Any]
    if kind == "EMBEDDING":
        size = 4 * feature.dimension
        parts = [column.embeddings[i : i + size] for i in range(0, len(column.embeddings), size)]
        values = [[*struct.unpack(f"<{feature.dimension}f", part)] for part in parts]
    elif kind == "LIST":
        items = iter(scalars(Feature.Type.Name(feature.item), column, column.null_items))
        values = [[next(items) for _ in range(length)] for length in column.lengths]
        assert not [*items]
    else:
        return scalars(kind, column, column.nulls)
    return [None if i in column.nulls else value for i, value in enumerate(values)]


def scalars(kind: str, column: Column, nulls: Sequence[int]) -> list[Any]:
    values = getattr(column, ARRAYS[kind])
    plain = [from_micros(value) if kind == "TIMESTAMP" else value for value in values]
    return [None if i in nulls else value for i, value in enumerate(plain)]


def columns_of(answer: ReadResponse) -> dict[str, list[Any]]:
    """The values of each feature."""
    found = {
        feature.name: values_of(feature, column)
        for feature, column in zip(answer.features, answer.columns, strict=True)
    }
    assert {len(values) for values in found.values()} <= {answer.row_count}
    return found


def refused(call: Any, *args: Any, **named: Any) -> tuple[Refusal, dict[str, Any]]:
    """What a caller is told of an error: status and code, and the trailing metadata."""
    with pytest.raises(grpc.RpcError) as error:
        call(*args, timeout=SECONDS, **named)
    trailers = dict(error.value.trailing_metadata() or ())
    return (error.value.code(), str(trailers.get("code", ""))), trailers
