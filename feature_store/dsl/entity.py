"""Entities: the things features describe."""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from feature_store.dsl.definition import STRICT, Definition
from feature_store.dtypes import STRING, DTypeField


@dataclass(frozen=True, eq=False, config=STRICT)
class Entity(Definition):
    """A thing that features describe, such as a user or an item.

    Args:
        name: snake_case name; features of the entity start with it.
        join_key: the column that identifies one of them, in sources, labels and requests.
        dtype: type of the join key: STRING, INT or TIMESTAMP.
    """

    name: str
    join_key: str
    dtype: DTypeField = STRING
    description: str = ""
