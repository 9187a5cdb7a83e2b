"""A feature type as a field of a definition: read from its text, written as its text."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from feature_store.dtypes import SCALARS, DType, parse_dtype

_SCALAR = "|".join(SCALARS)
_WRITTEN = rf"^({_SCALAR}|EMBEDDING\([1-9]\d*\)|LIST\(({_SCALAR})\))$"
DTYPE_JSON: dict[str, Any] = {"type": "string", "pattern": _WRITTEN}
DTypeField = Annotated[
    DType, BeforeValidator(parse_dtype), PlainSerializer(str, return_type=str), WithJsonSchema(DTYPE_JSON)
]
