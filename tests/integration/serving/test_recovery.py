"""Services that go away while clients ask: no wrong value meanwhile, and how soon everything is as before.

The times are told at the end of the tests, in milliseconds; nothing depends on them.
"""

from __future__ import annotations

import signal
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import make_url

from feature_store import FeatureStoreClient
from feature_store.errors import StackError
from feature_store.online.vectors import Status
from feature_store.registry.access.store import AccessControl
from feature_store.registry.access.tokens import Principal
from feature_store.registry.store import Registry
from tests.conftest import Eventually
from tests.integration.certificates import Authority
from tests.integration.compared import COMPARED
from tests.integration.own_valkey import Valkey, running_valkey
from tests.integration.serving.balancer import running_balancer
from tests.integration.serving.conftest import NewRegistry, address_of
from tests.integration.serving.gate import PostgresGate, running_gate
from tests.integration.serving.server_process import ServerProcess
from tests.integration.serving.shop import Shop

ROWS = [{"user_id": "a"}, {"user_id": "b"}]
PATIENT = 60.0
PATH = "/feature-groups/user_facts/online?entity_ids=a,b"


@dataclass
class Load:
    """Clients that ask again and again: what they were told, and when."""

    url: str
    answers: list[tuple[float, str, list[dict[str, object]]]] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Load:
        self._threads = [threading.Thread(target=self._ask) for _ in range(2)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        with FeatureStoreClient(self.url, "", deadline=PATIENT) as client:
            while not self._ended.is_set():
                vectors = client.online("user_facts", ROWS, kind="group")
                of_rows = {status["user_facts@1"] for status in vectors.statuses}
                what = "lost" if Status.UNAVAILABLE in of_rows else "found"
                self.answers.append((time.monotonic(), what, vectors.to_dicts()))

    def until(self, what: str, what_happened: str, since: float) -> None:
        """Waits for an answer of a kind after an event, and notes how long that took."""
        while True:
            at = next((at for at, told, _ in [*self.answers] if at > since and told == what), None)
            if at is not None:
                break
            time.sleep(0.002)
        COMPARED[f"ms {what_happened}"] += round((at - since) * 1e3)


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with running_valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="module")
def registry(new_registry: NewRegistry, valkey: Valkey) -> Registry:
    made = new_registry("registry_of_recovery")
    with valkey.client() as client:
        Shop.fill(made, client)
    return made


@pytest.fixture(scope="module")
def gate(registry: Registry) -> Iterator[PostgresGate]:
    with running_gate(registry.engine.url.port or 5432) as gate:
        yield gate


@pytest.fixture(scope="module")
def fragile(
    registry: Registry, valkey: Valkey, gate: PostgresGate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server on a Valkey of its own, and on the registry behind a gate."""
    through = registry.engine.url.set(host="127.0.0.1", port=gate.port).render_as_string(hide_password=False)
    process = ServerProcess(tmp_path_factory.mktemp("recovery"), through, {"redis_url": valkey.url, "deadline": 0.25})
    process.start()
    yield process
    process.stop()


@pytest.fixture
def load(fragile: ServerProcess) -> Iterator[Load]:
    """Clients that ask during a test; at its end every answer was right or said that Redis did not answer."""
    url = f"http://127.0.0.1:{fragile.port}"
    with Load(url) as load:
        while not any(what == "found" for _, what, _ in load.answers):
            time.sleep(0.002)
        yield load
    right = next(rows for _, what, rows in load.answers if what == "found")
    defaults = [{**row, "user_count": 7, "user_name": "?", "user_at": None} for row in ROWS]
    assert all(rows == (right if what == "found" else defaults) for _, what, rows in load.answers)


def test_redis_is_killed_paused_and_slow(load: Load, valkey: Valkey) -> None:
    valkey.kill()
    load.until("lost", "until a killed Redis is told as UNAVAILABLE", time.monotonic())
    valkey.start()
    load.until("found", "until a Redis that has come back is read", time.monotonic())
    valkey.signal(signal.SIGSTOP)
    load.until("lost", "until a paused Redis is told as UNAVAILABLE", time.monotonic())
    valkey.signal(signal.SIGCONT)
    load.until("found", "until a Redis that goes on is read", time.monotonic())
    with valkey.client() as client:
        began = time.monotonic()
        client.execute_command("DEBUG", "SLEEP", "1")
        load.until("lost", "until a Redis that sleeps for 1 s is told as UNAVAILABLE", began)
        load.until("found", "until a Redis that has slept is read", time.monotonic())


def test_the_registry_is_gone_and_comes_back(
    load: Load, fragile: ServerProcess, gate: PostgresGate, registry: Registry, eventually: Eventually
) -> None:
    gate.shut()
    eventually(lambda: not fragile.get("/health").json["registry"]["up"])
    since = time.monotonic()
    load.until("found", "until a read is answered without the registry", since)
    secret = AccessControl(registry.engine).create_token("late", Principal.parse("team:shop"), "tests").secret
    headers = {"Authorization": f"Bearer {secret}"}
    assert fragile.get(PATH, headers).status == 401
    gate.open()
    since = time.monotonic()
    eventually(lambda: fragile.get(PATH, headers).status == 200)
    COMPARED["ms until what has changed in a registry that comes back is known"] += round(
        (time.monotonic() - since) * 1e3
    )


def test_a_server_that_is_killed_costs_clients_its_start(load: Load, fragile: ServerProcess) -> None:
    fragile.stop(signal.SIGKILL)
    fragile.start()
    load.until("found", "until clients of a killed server that is ready again are answered", time.monotonic())


def test_the_registry_is_reached_with_encryption(
    registry: Registry, valkey: Valkey, tmp_path: Path, eventually: Eventually
) -> None:
    """As its URL says: with sslmode=verify-full the certificate has to be one of the authority."""
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files = authority.sign("postgres")
    context.load_cert_chain(files.certificate, files.key)
    with running_gate(registry.engine.url.port or 5432, context) as gate:

        def through(trusted: Authority) -> str:
            url = make_url(address_of(registry)).set(host="127.0.0.1", port=gate.port)
            encrypted = url.update_query_dict({"sslmode": "verify-full", "sslrootcert": str(trusted.file)})
            return encrypted.render_as_string(hide_password=False)

        good, bad = tmp_path / "good", tmp_path / "bad"
        for folder in (good, bad):
            folder.mkdir()
        process = ServerProcess(good, through(authority), {"redis_url": valkey.url})
        process.start()
        try:
            assert gate.encrypted > 0
            assert process.get("/health").json["registry"]["up"]
            assert process.get(PATH).status == 200
            control = AccessControl(registry.engine)
            secret = control.create_token("told", Principal.parse("team:shop"), "tests").secret
            headers = {"Authorization": f"Bearer {secret}"}
            eventually(lambda: process.get(PATH, headers).status == 200)  # heard over the same connection
        finally:
            process.stop(signal.SIGKILL)
        with pytest.raises(StackError, match="certificate verify failed"):
            Registry(through(stranger)).latest_plan()
        distrustful = ServerProcess(bad, through(stranger), {"redis_url": valkey.url})

        def is_asked() -> bool:
            try:
                return distrustful.get("/ready").status == 503
            except OSError:
                return False

        distrustful.start(is_asked)
        try:
            assert "certificate verify failed" in distrustful.get("/ready").json["reason"]
        finally:
            distrustful.stop(signal.SIGKILL)


def test_a_certificate_that_ends_while_clients_ask(
    server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    """Connections that are there go on; there are no new ones until there is another certificate."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    with running_balancer([server.port]) as balancer:
        url = f"https://127.0.0.1:{balancer.port}"

        def show(seconds: float) -> None:
            files = authority.sign("balancer", days=seconds / 86_400)
            balancer.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            balancer.tls.load_cert_chain(files.certificate, files.key)

        def ask_anew(deadline: float) -> str:
            with FeatureStoreClient(url, "", deadline=deadline) as client:
                try:
                    client.online("user_facts", ROWS, kind="group")
                except StackError as error:
                    return str(error)
            return ""

        with FeatureStoreClient(url, "", deadline=0.5) as kept:
            expected = None
            while expected is None:
                show(2)
                with suppress(StackError):  # on a busy machine it may have ended already
                    expected = kept.online("user_facts", ROWS, kind="group").to_dicts()
            eventually(lambda: "certificate has expired" in ask_anew(0.5))
            opened = balancer.opened
            for _ in range(5):
                assert kept.online("user_facts", ROWS, kind="group", deadline=PATIENT).to_dicts() == expected
            assert balancer.opened == opened
            since = time.monotonic()
            show(PATIENT)
            assert ask_anew(PATIENT) == ""
            COMPARED["ms until clients connect after a certificate was replaced"] += round(
                (time.monotonic() - since) * 1e3
            )
