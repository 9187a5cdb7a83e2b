"""Keeps what is recorded at hand: definitions, tokens, grants. Without the registry it goes on with what it knows."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from feature_store.errors import FeatureStoreError
from feature_store.online.native.core import NativeCore
from feature_store.registry.access.decision import Grant
from feature_store.registry.access.store import AccessControl
from feature_store.registry.access.table import AccessTable
from feature_store.registry.access.tokens import Token
from feature_store.registry.listener import ChangeListener
from feature_store.registry.models import RegisteredModels
from feature_store.registry.snapshot import RegistrySnapshot
from feature_store.registry.store import Registry
from feature_store.stack_file import replace_private_file
from serving.definitions import ServedDefinitions

REFRESH_SECONDS = 1.0
"""How often the registry is asked for its last plan, though it tells of each change by itself."""
REREAD_SECONDS = 15.0
"""How often tokens, grants, models and who uses what are read again, in case a word of them was lost."""

FOLLOW_SECONDS = 10.0
"""How long somebody who has changed a definition waits until it is served."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Kept:
    """What lies in the file: tokens by the hashes of their secrets."""

    snapshot: RegistrySnapshot
    tokens: dict[str, Token] = field(default_factory=dict)
    grants: tuple[Grant, ...] = ()


class RegistryMirror:
    """What is recorded now, or was when the registry last answered.

    Args:
        file: keeps the last state; it is read when the registry does not answer at the start.
        packages: those that functions of on-demand features may be imported from.
        core: reads stored values; None: Python does.
    """

    def __init__(self, registry: Registry, file: Path, packages: tuple[str, ...], core: NativeCore | None) -> None:
        self.definitions = ServedDefinitions()
        self.access = AccessTable()
        self.is_loaded = False
        """Whether there is something to serve, however old."""
        self.trouble = "not asked yet"
        """Why the registry does not answer; empty if it does."""
        self._registry = registry
        self._control = AccessControl(registry.engine)
        self._models = RegisteredModels(registry)
        self._listener = ChangeListener(registry.engine)
        self._file = file
        self._packages = packages
        self._core = core
        self._confirmed_at: float | None = None

    @property
    def age(self) -> float | None:
        """Seconds since the registry said that it is so; None if it has not."""
        return None if self._confirmed_at is None else time.monotonic() - self._confirmed_at

    async def run(self) -> None:
        """Follows the registry until it is cancelled."""
        reread_at = time.monotonic()
        while True:
            changed = await asyncio.to_thread(self._changes)
            if time.monotonic() - reread_at >= REREAD_SECONDS:
                changed, reread_at = changed | {"access", "usage"}, time.monotonic()
            await asyncio.to_thread(self.refresh, changed)

    async def follow(self, plan_id: int) -> None:
        """Waits until a plan that was just applied is served here, too; not for long if the registry falls silent."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FOLLOW_SECONDS):
                while self.definitions.snapshot.plan_id < plan_id:
                    await asyncio.sleep(0.01)

    def refresh(self, changed: frozenset[str] = frozenset(["definitions", "access"])) -> None:
        """Reads what has changed ("definitions", "access", "usage"); definitions also if a plan was applied."""
        try:
            snapshot, access = self.definitions.snapshot, self.access
            if "definitions" in changed or self._registry.latest_plan() != snapshot.plan_id:
                snapshot = self._registry.snapshot()
            elif "usage" in changed:
                snapshot = replace(snapshot, usage=self._registry.all_usage(), models=self._models.all())
            if "access" in changed:
                access = self._control.load()
        except FeatureStoreError as error:
            if not self.trouble or self._confirmed_at is None:
                _log.warning("the registry does not answer; everything stays as it was: %s", error)
            self.trouble = str(error)
            if not self.is_loaded:
                self._read_file()
            return
        known = (self.is_loaded, self._durable)
        self._take(snapshot, access)
        if known != (True, self._durable):
            self._write_file()
        self.trouble, self.is_loaded, self._confirmed_at = "", True, time.monotonic()

    def _changes(self) -> frozenset[str]:
        """What the registry tells that it has changed, as soon as it does."""
        try:
            return self._listener.wait(REFRESH_SECONDS)
        except FeatureStoreError:
            time.sleep(REFRESH_SECONDS)  # in a thread of its own: `refresh` tells what is wrong
            return frozenset()

    def _take(self, snapshot: RegistrySnapshot, access: AccessTable) -> None:
        if access != self.access:  # whoever keeps decisions keeps them as long as it is the same table
            self.access = access
        if snapshot is self.definitions.snapshot:
            return
        made = ServedDefinitions.of(snapshot, self._packages, self.definitions, self._core)
        for key, error in made.refused.items():
            if key not in self.definitions.refused:
                _log.warning("a recorded definition cannot be served: %s", error)
        self.definitions = made

    @property
    def _durable(self) -> tuple[object, ...]:
        """What the file is written anew for, if it changes."""
        definitions = self.definitions
        return definitions.snapshot.plan_id, definitions.views_of_models, definitions.models.records, self.access

    def _write_file(self) -> None:
        kept = _Kept(self.definitions.snapshot, dict(self.access.tokens), tuple(self.access.grants))
        self._file.parent.mkdir(parents=True, exist_ok=True)
        replace_private_file(self._file, msgspec.json.encode(kept))

    def _read_file(self) -> None:
        with suppress(OSError, msgspec.DecodeError):
            kept = msgspec.json.decode(self._file.read_bytes(), type=_Kept)
            self._take(kept.snapshot, AccessTable(kept.tokens, frozenset(kept.grants)))
            self.is_loaded = True
            _log.warning("serving what was recorded up to plan %d, from %s", kept.snapshot.plan_id, self._file)
