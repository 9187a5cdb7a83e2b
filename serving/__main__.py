"""One server process: `python -m serving`. SIGTERM ends it when the requests that have begun are answered."""

from __future__ import annotations

import logging
import socket
import ssl
import sys
from contextlib import suppress

import uvicorn

from feature_store.errors import FeatureStoreError
from serving.app import ServingApp
from serving.rest.protocol import direct_protocol
from serving.settings import DRAIN_SECONDS, ServingSettings
from serving.structured_log import JsonLines

_NOT_STARTED = 3
"""The exit code."""


def main() -> int:
    """Serves until it is told to stop; the exit code is 1 if the settings make no sense."""
    try:
        settings = ServingSettings.load()
    except FeatureStoreError as error:
        sys.stderr.write(f"serving: {error}\n")
        return 1
    serve(settings)
    return 0


class _Server(uvicorn.Server):
    """Tells the application at once that the process is to end, not when requests over HTTP are answered."""

    def __init__(self, app: ServingApp, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.drain()
        await super().shutdown(sockets)


def serve(settings: ServingSettings) -> None:
    """Serves until it is told to stop.

    Raises:
        SystemExit: if it cannot begin.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    app, tls = ServingApp(settings), settings.tls
    config = uvicorn.Config(
        app,
        host=settings.serving_host,
        port=settings.serving_port,
        loop="uvloop",
        http=direct_protocol(app.online, settings.request_seconds),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        ssl_certfile=tls.certificate if tls else None,
        ssl_keyfile=tls.key if tls else None,
        ssl_ca_certs=tls.client_ca or None if tls else None,
        ssl_cert_reqs=ssl.CERT_REQUIRED if tls and tls.client_ca else ssl.CERT_NONE,
    )
    server = _Server(app, config)
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(_NOT_STARTED)


if __name__ == "__main__":
    sys.exit(main())
