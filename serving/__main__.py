"""The server: `python -m serving`. SIGTERM ends it when the requests that have begun are answered."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

import uvicorn

from feature_store.errors import FeatureStoreError
from serving.app import ServingApp
from serving.rest.protocol import direct_protocol
from serving.settings import DRAIN_SECONDS, ServingSettings
from serving.structured_log import log_as_json
from serving.workers.parent import run_workers
from serving.workers.place import WorkerPlace
from serving.workers.ports import shared_sockets

_NOT_STARTED = 3
"""The exit code."""
_BEAT_SECONDS = 1.0
_SWITCH_SECONDS = 0.0005
"""How long another thread may keep the interpreter from the event loop, such as a function that computes in Python."""


def main() -> int:
    """Serves until it is told to stop; the exit code is 1 if the settings make no sense."""
    try:
        serve(ServingSettings.load())
    except FeatureStoreError as error:
        sys.stderr.write(f"serving: {error}\n")
        return 1
    return 0


class _Server(uvicorn.Server):
    """Tells the application at once that the process is to end, not when requests over HTTP are answered; tells its
    parent that it serves."""

    def __init__(self, app: ServingApp, config: uvicorn.Config, tell: Callable[[], None]) -> None:
        super().__init__(config)
        self._app = app
        self._tell = tell

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._beats = asyncio.create_task(self._beat())

    async def _beat(self) -> None:
        """Tells each second that the event loop runs, also while requests are answered at the end."""
        while True:
            self._tell()
            await asyncio.sleep(_BEAT_SECONDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.drain()
        await super().shutdown(sockets)


def serve(settings: ServingSettings) -> None:
    """Serves until it is told to stop, by this process or by several that it starts.

    Raises:
        StackError: if an address makes no sense; if several processes cannot have their ports.
        SystemExit: if it cannot begin.
    """
    if settings.processes == 1:
        log_as_json()
        serve_here(settings)
    elif code := run_workers(settings, serve_here):
        sys.exit(code)


def serve_here(
    settings: ServingSettings, place: WorkerPlace | None = None, tell: Callable[[], None] = lambda: None
) -> None:
    """Serves by this process until it is told to stop.

    Args:
        place: of this process among several; their ports are shared then.
        tell: is called when it listens, and each second after that.

    Raises:
        StackError: if an address makes no sense.
        SystemExit: if it cannot begin.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    app = ServingApp(settings, place)
    certificate = app.certificate
    config = uvicorn.Config(
        app,
        host=settings.serving_host,
        port=settings.serving_port,
        loop="uvloop",
        http=direct_protocol(app.online, settings.request_seconds, app.direct),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        ssl_context_factory=None if certificate is None else lambda *_: certificate.context,
    )
    server = _Server(app, config, tell)
    sockets = None if place is None else shared_sockets(settings.serving_host, settings.serving_port)
    with suppress(KeyboardInterrupt):
        server.run(sockets)
    if not server.started:
        sys.exit(_NOT_STARTED)


if __name__ == "__main__":
    sys.exit(main())
