"""Where a server is, and who asks it."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import urlsplit

from feature_store.errors import StackError, TokenError
from feature_store.settings import serving_url

_SCHEMES = ("http", "https", "grpc", "grpcs")


@dataclass(frozen=True)
class ServerAddress:
    """A server of vectors, and the token to present to it.

    Attributes:
        path: what comes before the server's own paths, behind a gateway; without a slash at its end. Not with gRPC.
        is_grpc: whether it is asked over gRPC.
    """

    host: str
    port: int
    path: str = ""
    is_encrypted: bool = False
    token: str = field(default="", repr=False)
    is_grpc: bool = False

    @classmethod
    def of(cls, url: str | None, token: str | None, environ: Mapping[str, str] = os.environ) -> ServerAddress:
        """The server at a URL.

        Args:
            url: http[s]://host[:port][/path], or grpc[s]://host[:port]; FS_SERVING_URL, or the running stack, unless
                given.
            token: FS_TOKEN unless given; "" for none.

        Raises:
            StackError: if no server is named, or the URL is not one of a server.
            TokenError: if the token is none.
        """
        url = serving_url(environ) if url is None else url
        token = environ.get("FS_TOKEN", "") if token is None else token
        if not url:
            raise StackError(
                "no server of vectors is named",
                where="FS_SERVING_URL",
                remedy="give the address, FeatureStoreClient(url), or set the variable, or run ./fs up",
                code="no-server",
            )
        if not (token.isascii() and token.isprintable()) or " " in token:
            raise TokenError(
                "the token has characters that no token has",
                where="token, FS_TOKEN",
                remedy="give the text that ./fs token create has printed, without the word Bearer",
                code="token-malformed",
            )
        try:
            parts = urlsplit(url)
            is_encrypted, is_grpc = parts.scheme in ("https", "grpcs"), parts.scheme in ("grpc", "grpcs")
            port = parts.port or (443 if is_encrypted else 80)
            fits = parts.scheme in _SCHEMES and not (parts.query or parts.fragment or parts.username)
            fits = fits and not (is_grpc and parts.path.strip("/"))
            host = parts.hostname if fits and url.isascii() and url.isprintable() and " " not in url else None
        except ValueError:
            host = None
        if host is None:
            raise StackError(  # without the URL, which may hold a password
                "is not the address of a server",
                where="url, FS_SERVING_URL",
                remedy="write http://host:port, https://host or grpc://host:port; give the token as token=",
                code="service-address",
            )
        return cls(host, port, parts.path.rstrip("/"), is_encrypted, token, is_grpc)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'grpc' if self.is_grpc else 'http'}{'s' if self.is_encrypted else ''}://{host}:{self.port}{self.path}"

    @cached_property
    def tls(self) -> ssl.SSLContext | None:
        """How connections are encrypted: certificates are checked, against SSL_CERT_FILE if that is set."""
        return ssl.create_default_context() if self.is_encrypted else None
