"""Keeps the served definitions up to date with the registry, and goes on without it."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from feature_store.errors import FeatureStoreError
from feature_store.registry.snapshot import RegistrySnapshot
from feature_store.registry.store import Registry
from feature_store.stack_file import replace_private_file
from serving.definitions import ServedDefinitions

REFRESH_SECONDS = 1.0
USAGE_SECONDS = 15.0
"""How often everything is read even though no plan was applied: which model uses which view is no plan."""

_log = logging.getLogger(__name__)


class DefinitionSource:
    """The definitions as they are recorded now, or were when the registry last answered.

    Args:
        file: keeps the last snapshot; it is read when the registry does not answer at the start.
        packages: those that functions of on-demand features may be imported from.
    """

    def __init__(self, registry: Registry, file: Path, packages: tuple[str, ...]) -> None:
        self.current = ServedDefinitions()
        self.is_loaded = False
        """Whether there are definitions to serve, however old."""
        self.trouble = "not asked yet"
        """Why the registry does not answer; empty if it does."""
        self._registry = registry
        self._file = file
        self._packages = packages
        self._confirmed_at: float | None = None

    @property
    def age(self) -> float | None:
        """Seconds since the registry said that the definitions are these; None if it has not."""
        return None if self._confirmed_at is None else time.monotonic() - self._confirmed_at

    async def run(self) -> None:
        """Reads what has changed, again and again, until it is cancelled."""
        whole_at = -USAGE_SECONDS
        while True:
            began = time.monotonic()
            whole = began - whole_at >= USAGE_SECONDS
            await asyncio.to_thread(self.refresh, whole=whole)
            whole_at = began if whole else whole_at
            await asyncio.sleep(REFRESH_SECONDS)

    def refresh(self, *, whole: bool = True) -> None:
        """Reads the registry if a plan was applied since, or if the `whole` is asked for."""
        try:
            if whole or self._registry.latest_plan() != self.current.snapshot.plan_id:
                self._take(self._registry.snapshot())
        except FeatureStoreError as error:
            if not self.trouble or self._confirmed_at is None:
                _log.warning("the registry does not answer; the definitions stay as they are: %s", error)
            self.trouble = str(error)
            if not self.is_loaded:
                self._read_file()
            return
        self.trouble, self.is_loaded, self._confirmed_at = "", True, time.monotonic()

    def _take(self, snapshot: RegistrySnapshot) -> None:
        if snapshot == self.current.snapshot and self.is_loaded:
            return
        made = ServedDefinitions.of(snapshot, self._packages, self.current)
        new = [error for key, error in made.refused.items() if key not in self.current.refused]
        for error in new:
            _log.warning("a recorded definition cannot be served: %s", error)
        self.current = made
        self._file.parent.mkdir(parents=True, exist_ok=True)
        replace_private_file(self._file, snapshot.to_json())

    def _read_file(self) -> None:
        with suppress(OSError, msgspec.DecodeError):
            snapshot = RegistrySnapshot.from_json(self._file.read_bytes())
            self.current = ServedDefinitions.of(snapshot, self._packages, self.current)
            self.is_loaded = True
            _log.warning("serving the definitions of plan %d from %s", snapshot.plan_id, self._file)
