"""The parts of a server that a request goes through; those of a server with traces are others (`traces/parts.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.types import ASGIApp

from feature_store.online.read.store import OnlineStore
from serving.calls import OnlineCore
from serving.grpc.service import OnlineService
from serving.redis_metrics import RedisWaits, TimedStore
from serving.rest.direct import DirectReads
from serving.rest.online import OnlineRoutes

if TYPE_CHECKING:
    from serving.settings import ServingSettings


class Parts:
    """Makes the parts of one server process."""

    core = OnlineCore

    def store(self, store: OnlineStore, waits: RedisWaits) -> OnlineStore:
        """What reads ask; `waits` takes their times."""
        return TimedStore(store, waits)

    def routes(self, core: OnlineCore, seconds: float) -> OnlineRoutes:
        """What answers requests for vectors."""
        return OnlineRoutes(core, seconds)

    def direct(self, core: OnlineCore, routes: OnlineRoutes, waits: RedisWaits) -> DirectReads | None:
        """What answers plain requests for vectors without them; None if they answer all."""
        return None if core.native is None else DirectReads(core, core.native, routes, waits)

    def service(self, core: OnlineCore) -> OnlineService:
        """What answers calls over gRPC."""
        return OnlineService(core)

    def rest(self, app: Starlette) -> ASGIApp:
        """What answers all other requests."""
        return app

    def close(self) -> None:
        """Ends what they have begun."""


def parts_of(settings: ServingSettings) -> Parts:
    """The parts that a server with these settings has."""
    if not settings.traces:
        return Parts()
    from serving.traces.parts import TracedParts  # half a second of imports

    return TracedParts()
