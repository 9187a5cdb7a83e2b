"""All that is recorded, at one moment, as a server keeps it: in memory, and in a file for when the database is down."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from feature_store.registry.records import EntityRecord, GroupRecord, UsageRecord, ViewRecord


@dataclass(frozen=True)
class RegistrySnapshot:
    """The recorded definitions and their users.

    Attributes:
        plan_id: the plan that was applied last; 0 before the first.
    """

    plan_id: int = 0
    entities: tuple[EntityRecord, ...] = ()
    groups: tuple[GroupRecord, ...] = ()
    views: tuple[ViewRecord, ...] = ()
    usage: tuple[UsageRecord, ...] = ()

    def to_json(self) -> bytes:
        """The snapshot as `from_json` reads it."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, text: bytes) -> RegistrySnapshot:
        """The snapshot in a text.

        Raises:
            msgspec.DecodeError: if it is none, or one of another version.
        """
        return msgspec.json.decode(text, type=cls)
