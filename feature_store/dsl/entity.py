"""Entities: the things features describe."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema
from pydantic.dataclasses import dataclass

from feature_store.dsl.definition import STRICT, Definition
from feature_store.dsl.dtype_field import DTYPE_JSON
from feature_store.dtypes import STRING, DType, parse_dtype


def _parse_types(given: Any) -> DType | tuple[DType, ...]:
    return tuple(map(parse_dtype, given)) if isinstance(given, list | tuple) else parse_dtype(given)


def _written(types: DType | tuple[DType, ...]) -> str | list[str]:
    return list(map(str, types)) if isinstance(types, tuple) else str(types)


KeyTypes = Annotated[
    DType | tuple[DType, ...],
    BeforeValidator(_parse_types),
    PlainSerializer(_written),
    WithJsonSchema({"anyOf": [DTYPE_JSON, {"type": "array", "items": DTYPE_JSON, "minItems": 1}]}),
]


@dataclass(frozen=True, eq=False, config=STRICT)
class Entity(Definition):
    """A thing that features describe, such as a user or an item, or a pair of them.

    Args:
        name: snake_case name; features of the entity start with it.
        join_key: the column that identifies one of them, in sources, labels and requests; or several columns. Offline
            tables are split by the first of several: let it be the one with the most values.
        dtype: type of the join key: STRING, INT or TIMESTAMP; of several columns one type for all, or one for each.

    Example:
        >>> Entity("user_item", join_key=("user_id", "item_id"), dtype=(STRING, INT))
    """

    name: str
    join_key: str | tuple[str, ...]
    dtype: KeyTypes = STRING
    description: str = ""

    def _check(self) -> None:
        names = [self.join_key] if isinstance(self.join_key, str) else self.join_key
        if not names or len(set(names)) < len(names):
            raise ValueError("join_key needs one column, or several different ones")
        if isinstance(self.dtype, tuple) and len(self.dtype) != len(names):
            raise ValueError(f"join_key has {len(names)} columns, dtype has {len(self.dtype)} types")

    @property
    def keys(self) -> dict[str, DType]:
        """The key columns and their types, in order."""
        names = (self.join_key,) if isinstance(self.join_key, str) else self.join_key
        types = self.dtype if isinstance(self.dtype, tuple) else (self.dtype,) * len(names)
        return dict(zip(names, types, strict=True))
