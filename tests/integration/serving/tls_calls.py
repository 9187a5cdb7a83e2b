"""Calls over encrypted connections."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.integration.certificates import Authority, CertificateFiles
from tests.integration.serving.server_process import ServerProcess

PATH = "/feature-groups/user_facts/online?entity_ids=a,b"


@contextmanager
def connection_by_tls(
    port: int, trusted: Authority, shown: CertificateFiles | None = None
) -> Iterator[http.client.HTTPSConnection]:
    """An encrypted connection, which is kept for as long as the block lasts."""
    context = ssl.create_default_context(cafile=str(trusted.file))
    if shown is not None:
        context.load_cert_chain(shown.certificate, shown.key)
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context)
    try:
        yield connection
    finally:
        connection.close()


def status_on(connection: http.client.HTTPSConnection, path: str = PATH) -> int:
    """The status of one more answer on a connection."""
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def json_on(connection: http.client.HTTPSConnection, path: str) -> Any:
    """The document in one more answer on a connection."""
    connection.request("GET", path)
    return json.loads(connection.getresponse().read())


def status_by_tls(port: int, trusted: Authority, shown: CertificateFiles | None = None) -> int:
    """The status of an answer over an encrypted connection of its own."""
    with connection_by_tls(port, trusted, shown) as connection:
        return status_on(connection)


@contextmanager
def started(process: ServerProcess, trusted: Authority, shown: CertificateFiles | None = None) -> Iterator[int]:
    """The port of a server that answers who trusts this authority and shows this certificate."""

    def is_ready() -> bool:
        try:
            return status_by_tls(process.port, trusted, shown) == 200
        except OSError:
            return False

    process.start(is_ready)
    try:
        yield process.port
    finally:
        process.stop()
