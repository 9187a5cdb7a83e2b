"""The certificate that a server process shows at the moment: read again when its files change, while it serves.

Connections that are open stay as they are; the next ones see the new certificate.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc

from feature_store.errors import StackError
from serving.families import Family
from serving.tls import Certificate, ServingTls

LOOK_SECONDS = 1.0
"""How often it is looked whether a file has changed."""
EARLY = timedelta(days=7)
"""How long before its end a certificate is warned of."""
_log = logging.getLogger(__name__)


class ServerCertificate:
    """Keeps the certificate of one server process up to date.

    Raises:
        StackError: as `ServingTls.read`.
    """

    def __init__(self, tls: ServingTls) -> None:
        self._tls = tls
        self._stamp = tls.stamp()
        self._current = self._shown_by_grpc = tls.read()
        self._trouble = ""
        self._told = ""
        self.context = self._current.context
        """For connections over HTTP; each of them is handed on to the context of the moment."""
        self.context.sni_callback = self._hand_on
        self._grpc = grpc.dynamic_ssl_server_credentials(
            _for_grpc(self._current), self._next_for_grpc, self._current.authority is not None
        )

    @property
    def credentials(self) -> grpc.ServerCredentials:
        """For connections over gRPC."""
        return self._grpc

    @property
    def trouble(self) -> str:
        """Why callers refuse it, or why new files are not used; empty: all is well."""
        if self._current.end <= datetime.now(UTC):
            return f"the certificate has ended at {self._current.end:%Y-%m-%d %H:%M} UTC. {self._trouble}".rstrip(". ")
        return self._trouble

    @property
    def health(self) -> dict[str, str]:
        """When it ends, and what is wrong with it."""
        return {"end": self._current.end.isoformat(), "trouble": self.trouble}

    def families(self) -> Iterator[Family]:
        """When it ends."""
        name, description = "feature_store_certificate_end_seconds", "When the server's certificate ends, since 1970"
        yield Family(name, description, "smallest", (), {(): self._current.end.timestamp()})

    async def run(self) -> None:
        """Looks for changes, again and again, until it is cancelled."""
        while True:
            await asyncio.to_thread(self.refresh)
            await asyncio.sleep(LOOK_SECONDS)

    def refresh(self) -> None:
        """Reads files that have changed; if they cannot be used, all stays as it was."""
        stamp = self._tls.stamp()
        if stamp != self._stamp:
            try:
                found = self._tls.read()
            except StackError as error:
                self._stamp, self._trouble = stamp, str(error)
            else:
                if self._tls.stamp() != stamp:
                    return  # another change came while they were read: they may not belong together
                self._stamp, self._trouble, self._current = stamp, "", found
                _log.info("new certificate, which ends at %s", found.end.isoformat())
        self._tell()

    def _tell(self) -> None:
        """Logs what is wrong, once."""
        trouble = self.trouble
        if not trouble and self._current.end - datetime.now(UTC) < EARLY:
            trouble = f"the certificate ends soon, at {self._current.end:%Y-%m-%d %H:%M} UTC"
        if trouble and trouble != self._told:
            _log.warning("%s: %s", self._tls.certificate, trouble)
        self._told = trouble

    def _hand_on(self, connection: Any, _: str | None, __: ssl.SSLContext) -> None:
        connection.context = self._current.context  # before the certificate is chosen, with and without a name

    def _next_for_grpc(self) -> grpc.ServerCertificateConfiguration | None:
        """Is asked by gRPC before each new connection; None: the one that it has."""
        current = self._current
        if current is self._shown_by_grpc:
            return None
        self._shown_by_grpc = current
        return _for_grpc(current)


def _for_grpc(found: Certificate) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([found.pair], found.authority)
