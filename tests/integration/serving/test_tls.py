"""Encrypted connections: from callers to the server, and from the server to Redis."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from feature_store.errors import StackError
from feature_store.online.connection import connect
from feature_store.registry.store import Registry
from feature_store.remote.online_pb2 import Column, Input, ReadRequest
from feature_store.remote.online_pb2_grpc import OnlineStub
from feature_store.settings import Settings
from serving.settings import ServingSettings
from serving.tls import ServingTls
from tests.integration.certificates import Authority, CertificateFiles
from tests.integration.own_valkey import running_valkey
from tests.integration.serving.conftest import address_of
from tests.integration.serving.server_process import ServerProcess
from tests.integration.serving.shop import Shop
from tests.integration.serving.tls_calls import PATH, started, status_by_tls


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def test_callers_check_the_server_and_it_checks_them(
    serving_registry: Registry, shop: Shop, authority: Authority, tmp_path: Path
) -> None:
    own, caller = authority.sign("server"), authority.sign("caller")
    stranger, ended = Authority(tmp_path, "stranger"), authority.sign("ended", days=-1)
    environment = {
        "FS_SERVING_CERT": str(own.certificate),
        "FS_SERVING_KEY": str(own.key),
        "FS_SERVING_CLIENT_CA": str(authority.file),
    }
    process = ServerProcess(tmp_path, address_of(serving_registry), environment=environment)
    with started(process, authority, caller) as port:
        for shown in (None, stranger.sign("other"), ended):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                status_by_tls(port, authority, shown)
        with pytest.raises(ssl.SSLCertVerificationError):
            status_by_tls(port, stranger, caller)
        with socket.create_connection(("127.0.0.1", port), timeout=30) as plain:
            plain.sendall(f"GET {PATH} HTTP/1.1\r\nHost: shop\r\n\r\n".encode())
            assert not plain.recv(100).startswith(b"HTTP/1.1 200")
        assert status_by_tls(port, authority, caller) == 200
        asked = ReadRequest(id="user_facts", keys=[Input(name="user_id", column=Column(strings=["a"]))])
        for shown in (caller, None, ended):
            credentials = grpc.ssl_channel_credentials(
                authority.file.read_bytes(),
                shown and shown.key.read_bytes(),
                shown and shown.certificate.read_bytes(),
            )
            with grpc.secure_channel(f"127.0.0.1:{process.grpc_port}", credentials) as channel:
                if shown is caller:
                    assert OnlineStub(channel).ReadGroup(asked, timeout=30).row_count == 1
                else:
                    with pytest.raises(grpc.RpcError):
                        OnlineStub(channel).ReadGroup(asked, timeout=30)


@contextmanager
def encrypted(port: int, own: CertificateFiles) -> Iterator[int]:
    """A port at which another one answers with encryption: Valkey's binary has none of its own."""
    loop = asyncio.new_event_loop()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.certificate, own.key)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, back), pump(there, writer), return_exceptions=True)

    server = loop.run_until_complete(asyncio.start_server(forward, "127.0.0.1", 0, ssl=context))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield server.sockets[0].getsockname()[1]
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    server.close()


def test_redis_is_asked_over_an_encrypted_connection(
    serving_registry: Registry, shop: Shop, authority: Authority, tmp_path: Path
) -> None:
    with running_valkey(tmp_path) as valkey, encrypted(valkey.port, authority.sign("redis")) as port:
        with connect(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={authority.file}") as redis:
            Shop.write(redis)
        trusting = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={authority.file}"
        for url, found in ((trusting, {"PRESENT"}), (f"rediss://127.0.0.1:{port}/0", {"UNAVAILABLE"})):
            process = ServerProcess(tmp_path, address_of(serving_registry), {"redis_url": url})
            process.start()
            statuses = process.get(PATH).json["groups"][0]["statuses"]
            process.stop()
            assert set(statuses) & {"PRESENT", "UNAVAILABLE"} == found


@pytest.mark.parametrize("missing", ["FS_SERVING_CERT", "FS_SERVING_KEY", "FS_SERVING_CLIENT_CA"])
def test_certificates_that_make_no_sense_are_refused(
    stack: Settings, authority: Authority, tmp_path: Path, missing: str
) -> None:
    own = authority.sign("mixed")
    named = {
        "FS_HOME": str(stack.home),
        "FS_SERVING_CERT": str(own.certificate),
        "FS_SERVING_KEY": str(own.key),
        "FS_SERVING_CLIENT_CA": str(authority.file),
    }
    assert ServingSettings.load(named).tls == ServingTls(str(own.certificate), str(own.key), str(authority.file))
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("no certificate")
    for wrong in (str(tmp_path / "missing.pem"), str(nothing)):
        with pytest.raises(StackError, match="cannot be used") as error:
            ServingSettings.load(named | {missing: wrong})
        assert error.value.code == "serving-tls"
    with pytest.raises(StackError, match="belong together"):
        ServingSettings.load({"FS_HOME": str(stack.home), missing: named[missing]})
