"""Layouts: which features a stored value holds, in which order; numbered per group version and kept in Redis.

A writer registers the layout of its definition and marks its values with the number; a reader accepts every layout it
can look up, so features may be added while old values, old writers and old readers are around.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from feature_store.dtypes import DType, parse_dtype
from feature_store.errors import ConflictError, StackError
from feature_store.online.keys import layouts_key
from feature_store.plan.schema import GroupSchema

if TYPE_CHECKING:
    from redis import Redis

Layout = tuple[tuple[str, DType], ...]
MAX_LAYOUT = 2**16 - 1


def layout_of(group: GroupSchema) -> Layout:
    """The layout that values of this definition have."""
    return tuple((feature.name, feature.dtype) for feature in group.features)


def load_layouts(redis: Redis, group: GroupSchema) -> dict[int, Layout]:
    """All layouts of a group version, by number.

    Raises:
        StackError: if an entry is not a layout.
    """
    return parse_layouts(group, redis.hgetall(layouts_key(group)))


def parse_layouts(group: GroupSchema, entries: Mapping[Any, bytes | str]) -> dict[int, Layout]:
    """The layouts of a group version, by number, as Redis has them.

    Raises:
        StackError: if an entry is not a layout.
    """
    key = layouts_key(group)
    return {int(number): _read(text, f"{key}[{int(number)}]") for number, text in entries.items()}


def register_layout(redis: Redis, group: GroupSchema) -> int:
    """The number of the definition's layout, given now if it is new.

    Raises:
        ConflictError: if the definition changes the type of a feature that the group version already has, or if there
            is no number left.
    """
    wanted = layout_of(group)
    while True:
        known = load_layouts(redis, group)
        for number, layout in sorted(known.items(), reverse=True):
            if layout == wanted:
                return number
            check_types(group, layout)
        number = max(known, default=0) + 1
        if number > MAX_LAYOUT:
            raise ConflictError(
                f"all {MAX_LAYOUT} layouts are used up",
                where=f"group {group.id}",
                remedy=f"give the group version {group.version + 1}",
                code="layouts-used-up",
            )
        text = msgspec.json.encode([[name, str(dtype)] for name, dtype in wanted])
        if redis.hsetnx(layouts_key(group), str(number), text):  # else another writer took the number: look again
            return number


def check_types(group: GroupSchema, layout: Layout) -> None:
    """Refuses a layout in which a feature of the group has another type.

    Raises:
        ConflictError: naming the feature and both types.
    """
    types = dict(layout)
    for feature in group.features:
        if types.get(feature.name, feature.dtype) != feature.dtype:
            raise ConflictError(
                f"feature {feature.name!r} is {feature.dtype} here and {types[feature.name]} in the online store",
                where=f"group {group.id}",
                remedy=f"give the group version {group.version + 1}",
                code="type-change",
            )


def _read(text: bytes | str, where: str) -> Layout:
    try:
        pairs = msgspec.json.decode(text, type=list[tuple[str, str]])
        return tuple((name, parse_dtype(dtype)) for name, dtype in pairs)
    except (msgspec.DecodeError, ValueError) as error:
        raise StackError(
            f"{text!r} is not a layout: {error}", where=f"Redis hash {where}", code="unreadable-value"
        ) from None
