"""The certificates that the server shows, and those that it asks its callers for."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from feature_store.environment import folder
from feature_store.errors import StackError


@dataclass(frozen=True)
class ServingTls:
    """Files in PEM.

    Attributes:
        certificate: with the chain behind it.
        key: of the certificate.
        client_ca: the authority behind certificates that callers have to show; empty: they need none.
    """

    certificate: str
    key: str
    client_ca: str = ""

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> ServingTls | None:
        """What the environment names; None if it names nothing.

        Raises:
            StackError: if a file is missing, cannot be read, or does not fit the others.
        """
        names = ("FS_SERVING_CERT", "FS_SERVING_KEY", "FS_SERVING_CLIENT_CA")
        certificate, key, client_ca = (str(folder(environ[name])) if environ.get(name) else "" for name in names)
        if not (certificate or key or client_ca):
            return None
        if not (certificate and key):
            raise _error("a certificate and its key belong together", "FS_SERVING_CERT, FS_SERVING_KEY")
        found = cls(certificate, key, client_ca)
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise _error(
                f"{certificate} and {key} cannot be used: {error}", "FS_SERVING_CERT, FS_SERVING_KEY"
            ) from None
        try:
            if client_ca:
                context.load_verify_locations(client_ca)
        except (OSError, ssl.SSLError) as error:
            raise _error(f"{client_ca} cannot be used: {error}", "FS_SERVING_CLIENT_CA") from None
        return found


def _error(message: str, where: str) -> StackError:
    return StackError(message, where=where, remedy="name files in PEM, or leave all three out", code="serving-tls")
