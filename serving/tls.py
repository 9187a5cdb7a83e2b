"""The certificates that the server shows, and those that it asks its callers for."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from feature_store.errors import StackError


@dataclass(frozen=True)
class Certificate:
    """What the files of a server held when they were read.

    Attributes:
        context: shows it, and asks callers for theirs if that is wanted.
        pair: the key and the certificate with the chain behind it.
        authority: the one behind certificates that callers have to show; None: they need none.
        end: when the first of the chain is no longer valid.
    """

    context: ssl.SSLContext
    pair: tuple[bytes, bytes]
    authority: bytes | None
    end: datetime


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
        certificate, key, client_ca = (_path(environ[name]) if environ.get(name) else "" for name in names)
        if not (certificate or key or client_ca):
            return None
        if not (certificate and key):
            raise _error("a certificate and its key belong together", "FS_SERVING_CERT, FS_SERVING_KEY")
        found = cls(certificate, key, client_ca)
        found.read()
        return found

    def read(self) -> Certificate:
        """What the files hold now.

        Raises:
            StackError: if a file is missing, cannot be read, or does not fit the others.
        """
        from cryptography.x509 import load_pem_x509_certificates  # only servers with certificates need it

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.key)
            pair = Path(self.key).read_bytes(), Path(self.certificate).read_bytes()
            end = min(each.not_valid_after_utc for each in load_pem_x509_certificates(pair[1]))
        except (OSError, ValueError) as error:
            raise _error(
                f"{self.certificate} and {self.key} cannot be used: {error}", "FS_SERVING_CERT, FS_SERVING_KEY"
            ) from None
        authority = None
        try:
            if self.client_ca:
                context.load_verify_locations(self.client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
                authority = Path(self.client_ca).read_bytes()
        except OSError as error:
            raise _error(f"{self.client_ca} cannot be used: {error}", "FS_SERVING_CLIENT_CA") from None
        return Certificate(context, pair, authority, end)

    def stamp(self) -> tuple[tuple[int, ...], ...]:
        """Is another one when a file has changed; of a file that is not there it is empty."""
        return tuple(map(_stamp, filter(None, (self.certificate, self.key, self.client_ca))))


def _path(text: str) -> str:
    """An absolute path. Links are not followed: what they lead to changes when a file is replaced."""
    return str(Path(text).expanduser().absolute())


def _stamp(path: str) -> tuple[int, ...]:
    try:
        found = Path(path).stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _error(message: str, where: str) -> StackError:
    return StackError(message, where=where, remedy="name files in PEM, or leave all three out", code="serving-tls")
