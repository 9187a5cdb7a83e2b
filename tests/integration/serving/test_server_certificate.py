"""The server's own certificate is replaced, damaged and ends while it serves."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from feature_store import AsyncFeatureStoreClient, FeatureStoreClient
from feature_store.errors import StackError
from feature_store.registry.store import Registry
from feature_store.remote.online_pb2 import Column, Input, ReadRequest
from feature_store.remote.online_pb2_grpc import OnlineStub
from tests.conftest import Eventually
from tests.integration.certificates import Authority, CertificateFiles
from tests.integration.serving.conftest import address_of
from tests.integration.serving.server_process import ServerProcess
from tests.integration.serving.shop import Shop
from tests.integration.serving.tls_calls import connection_by_tls, json_on, started, status_by_tls, status_on

ASKED = ReadRequest(id="user_facts", keys=[Input(name="user_id", column=Column(strings=["a"]))])
ROWS = [{"user_id": "a"}]


class Mounted:
    """Files as Kubernetes mounts a secret: links into a folder that is exchanged as a whole."""

    def __init__(self, folder: Path, authority: Authority, shown: CertificateFiles) -> None:
        self._folder = folder
        self._count = 0
        self.put(authority, shown)
        for name in ("tls.crt", "tls.key", "ca.crt"):
            (folder / name).symlink_to(Path("now") / name)

    @property
    def environment(self) -> dict[str, str]:
        named = {"FS_SERVING_CERT": "tls.crt", "FS_SERVING_KEY": "tls.key", "FS_SERVING_CLIENT_CA": "ca.crt"}
        return {variable: str(self._folder / name) for variable, name in named.items()}

    def put(self, authority: Authority, shown: CertificateFiles, key: Path | None = None) -> None:
        """Exchanges all files at once."""
        self._count += 1
        made = self._folder / f"content-{self._count}"
        made.mkdir()
        for name, path in (("tls.crt", shown.certificate), ("tls.key", key or shown.key), ("ca.crt", authority.file)):
            shutil.copy(path, made / name)
        new = self._folder / "next"
        new.symlink_to(made.name)
        new.rename(self._folder / "now")


@contextmanager
def channel_to(port: int, trusted: Authority, shown: CertificateFiles) -> Iterator[OnlineStub]:
    credentials = grpc.ssl_channel_credentials(
        trusted.file.read_bytes(), shown.key.read_bytes(), shown.certificate.read_bytes()
    )
    options = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        yield OnlineStub(channel)


def count(stub: OnlineStub) -> int:
    return int(stub.ReadGroup(ASKED, timeout=30).row_count)


def is_shown(port: int, trusted: Authority, shown: CertificateFiles) -> bool:
    try:
        return status_by_tls(port, trusted, shown) == 200
    except (ssl.SSLError, ConnectionError):
        return False


def test_a_certificate_is_replaced_while_connections_go_on(
    serving_registry: Registry, shop: Shop, tmp_path: Path, eventually: Eventually
) -> None:
    before, after = Authority(tmp_path, "before"), Authority(tmp_path, "after")
    old, new = before.sign("old-caller"), after.sign("new-caller")
    mounted = Mounted(tmp_path, before, before.sign("first"))
    process = ServerProcess(tmp_path, address_of(serving_registry), environment=mounted.environment)
    with (
        started(process, before, old) as port,
        connection_by_tls(port, before, old) as kept,
        channel_to(process.grpc_port, before, old) as stub,
    ):
        first = json_on(kept, "/health")["certificate"]
        assert (first["trouble"], count(stub)) == ("", 1)
        socket = kept.sock

        mounted.put(after, after.sign("second", days=1.5))
        eventually(lambda: is_shown(port, after, new))
        assert not is_shown(port, before, old)
        assert not is_shown(port, after, old)  # the authority of callers is another one, too
        with channel_to(process.grpc_port, after, new) as another:
            assert count(another) == 1
        for trusted, shown in ((before, old), (after, old)):
            with channel_to(process.grpc_port, trusted, shown) as refused, pytest.raises(grpc.RpcError):
                count(refused)
        second = json_on(kept, "/health")
        assert (second["certificate"]["trouble"], second["certificate"]["end"] > first["end"]) == ("", True)

        mounted.put(after, after.sign("third"), key=old.key)  # not the key of the certificate
        eventually(lambda: "cannot be used" in json_on(kept, "/health")["certificate"]["trouble"])
        assert json_on(kept, "/health")["status"] == "degraded"
        assert json_on(kept, "/health")["certificate"]["end"] == second["certificate"]["end"]
        assert is_shown(port, after, new)

        mounted.put(after, after.sign("fourth", days=1.8))
        eventually(lambda: json_on(kept, "/health")["certificate"]["trouble"] == "")
        assert (status_on(kept), kept.sock, count(stub)) == (200, socket, 1)


def test_a_certificate_that_has_ended_is_told(
    serving_registry: Registry, shop: Shop, tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    shown = authority.sign("server", days=0.5)
    environment = {"FS_SERVING_CERT": str(shown.certificate), "FS_SERVING_KEY": str(shown.key)}
    process = ServerProcess(tmp_path, address_of(serving_registry), environment=environment)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    with started(process, authority) as port, connection_by_tls(port, authority) as kept:
        assert json_on(kept, "/health")["status"] == "ok"
        with FeatureStoreClient(f"https://127.0.0.1:{port}", "", deadline=20) as client:
            known = client.online("user_facts", ROWS, kind="group").to_dicts()
            eventually(lambda: "the certificate ends soon" in process.log.read_text())

            authority.sign("server", days=-1)  # into the same files
            eventually(lambda: json_on(kept, "/health")["status"] == "degraded")
            assert "the certificate has ended at" in json_on(kept, "/health")["certificate"]["trouble"]
            eventually(lambda: "the certificate has ended at" in process.log.read_text())
            kept.request("GET", "/metrics")
            (line,) = [
                line
                for line in kept.getresponse().read().decode().splitlines()
                if line.startswith("feature_store_certificate_end_seconds ")
            ]
            assert float(line.split()[1]) < time.time()
            assert client.online("user_facts", ROWS, kind="group").to_dicts() == known  # on its connection
            assert status_on(kept) == 200

        async def ask(url: str) -> None:
            async with AsyncFeatureStoreClient(url, "", deadline=2) as client:
                await client.online("user_facts", ROWS, kind="group")

        for url in (f"https://127.0.0.1:{port}", f"grpcs://127.0.0.1:{process.grpc_port}"):
            with pytest.raises(StackError, match=r"(?i)certificate.*expired"):
                FeatureStoreClient(url, "", deadline=2).online("user_facts", ROWS, kind="group")
            with pytest.raises(StackError, match=r"(?i)certificate.*expired"):
                asyncio.run(ask(url))
