"""The gRPC server as a process: health, reflection, a Redis that is gone, callers that do not wait, the end."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from feature_store.errors import StackError
from feature_store.registry.store import Registry
from feature_store.remote.online_pb2 import Column, Group, Input, ReadRequest
from feature_store.settings import REPOSITORY, Settings
from serving.settings import ServingSettings
from tests.conftest import Eventually
from tests.integration.own_valkey import Valkey, running_valkey
from tests.integration.serving.conftest import address_of
from tests.integration.serving.grpc_client import SECONDS, channel_to, columns_of, refused, stub_of
from tests.integration.serving.server_process import ServerProcess
from tests.integration.serving.shop import Shop

SERVICE = "feature_store.v1.Online"
SERVING, NOT_SERVING = (health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING)
USERS = ReadRequest(id="user_facts", keys=[Input(name="user_id", column=Column(strings=["a", "b"]))])

SELLERS = ReadRequest(id="seller_facts", keys=[Input(name="seller_id", column=Column(strings=["a", "b"]))])


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    with running_valkey(tmp_path) as server:
        yield server


def test_the_generated_code_is_that_of_the_proto_file(tmp_path: Path) -> None:
    out = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{REPOSITORY}", *out, "feature_store/remote/online.proto"]
    subprocess.run(command, check=True, cwd=REPOSITORY)
    made = sorted((tmp_path / "feature_store" / "remote").iterdir())
    assert [file.name for file in made] == ["online_pb2.py", "online_pb2.pyi", "online_pb2_grpc.py"]
    for file in made:
        assert file.read_text() == (REPOSITORY / "feature_store" / "remote" / file.name).read_text()


def test_reflection_lists_the_service(server: ServerProcess) -> None:
    with channel_to(server) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert {SERVICE, "grpc.health.v1.Health"} <= set(database.get_services())
        file = database.FindFileContainingSymbol(SERVICE)
        assert [method.name for method in file.service[0].method] == ["ReadGroup", "ReadView", "ReadModel", "GetSchema"]


def test_health_is_that_of_ready(server: ServerProcess) -> None:
    with channel_to(server) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", SERVICE):
            request = health_pb2.HealthCheckRequest(service=name)
            assert health.Check(request, timeout=SECONDS).status == SERVING
        told, _ = refused(health.Check, health_pb2.HealthCheckRequest(service="nothing"))
        assert told[0] is grpc.StatusCode.NOT_FOUND


def test_a_server_without_definitions_is_not_serving(tmp_path: Path) -> None:
    nobody = "postgresql+psycopg2://nobody@127.0.0.1:1/registry"
    empty = ServerProcess(tmp_path, nobody)
    empty.launch()
    try:
        with channel_to(empty) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            answer = health.Check(health_pb2.HealthCheckRequest(), timeout=SECONDS, wait_for_ready=True)
            assert answer.status == NOT_SERVING
        assert empty.get("/ready").status == 503
        with stub_of(empty) as stub:
            assert refused(stub.ReadGroup, USERS)[0] == (grpc.StatusCode.NOT_FOUND, "not-recorded")
    finally:
        empty.stop()


def test_the_port_is_a_setting(stack: Settings) -> None:
    named = {"FS_HOME": str(stack.home)}
    assert ServingSettings.load({**named, "FS_SERVING_GRPC_PORT": "14321"}).serving_grpc_port == 14321
    with pytest.raises(StackError) as error:
        ServingSettings.load({**named, "FS_SERVING_GRPC_PORT": "many"})
    assert (error.value.code, error.value.where) == ("port", "FS_SERVING_GRPC_PORT")


def test_a_port_that_is_taken_is_told(server: ServerProcess, tmp_path: Path) -> None:
    second = ServerProcess(tmp_path, server.registry_url)
    second.grpc_port, second.changes = 0, {"serving_grpc_port": server.grpc_port}
    process = second.launch()
    assert process.wait(SECONDS) == 3
    assert "FS_SERVING_GRPC_PORT" in second.log.read_text()


def test_a_stopped_redis_is_told_by_statuses_and_callers_need_not_wait(
    serving_registry: Registry, valkey: Valkey, tmp_path: Path, eventually: Eventually
) -> None:
    with valkey.client() as client:
        Shop.fill(serving_registry, client)
    fragile = ServerProcess(
        tmp_path, address_of(serving_registry), {"redis_url": valkey.url, "most_waiting": 8, "deadline": 0.25}
    )
    fragile.start()
    try:
        with stub_of(fragile) as stub:
            before = stub.ReadGroup(USERS, timeout=SECONDS)
            valkey.signal(signal.SIGSTOP)
            with pytest.raises(grpc.RpcError) as error:
                stub.ReadGroup(USERS, timeout=0.15)  # less than the server gives Redis
            assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            calls = [stub.ReadGroup.future(USERS, timeout=SECONDS) for _ in range(40)]
            codes = [call.code() for call in calls]
            assert {*codes} == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
            lost = calls[codes.index(grpc.StatusCode.OK)].result()
            assert [*lost.groups[0].statuses] == [Group.UNAVAILABLE] * 2
            assert columns_of(lost) == {"user_count": [7, 7], "user_name": ["?", "?"], "user_at": [None, None]}
            assert lost.groups[0].stale
            valkey.signal(signal.SIGCONT)

            def is_back() -> bool:
                call = stub.ReadGroup.future(USERS, timeout=SECONDS)
                if call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:  # commands of before wait still
                    return False
                answer = call.result()
                is_there = Group.UNAVAILABLE not in answer.groups[0].statuses
                return is_there and columns_of(answer) == columns_of(before)

            eventually(is_back)
        text = fragile.get("/metrics").body.decode()
        assert re.search(r'requests_total{route="/feature_store.v1.Online/ReadGroup",status="499"} 1\.0', text)
        assert "Traceback" not in fragile.log.read_text()
    finally:
        fragile.stop()


def test_it_answers_what_has_begun_when_it_is_told_to_end(
    shop: Shop, serving_registry: Registry, tmp_path: Path
) -> None:
    assert shop.views
    ending = ServerProcess(tmp_path, address_of(serving_registry))
    ending.start()
    answered: list[int] = []
    codes: list[grpc.StatusCode] = []

    def ask() -> None:
        with stub_of(ending) as stub:
            while True:
                try:
                    answer = stub.ReadGroup(SELLERS, timeout=SECONDS, metadata=(("x-model", "grpc-words"),))
                except grpc.RpcError as error:
                    codes.append(error.code())
                    return
                answered.append(answer.row_count)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    with channel_to(ending) as channel:
        watched = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        assert next(watched).status == SERVING
        for thread in threads:
            thread.start()
        while len(answered) < 200:
            pass
        assert ending.stop() in (0, -signal.SIGTERM)
        assert [health.status for health in watched] == [NOT_SERVING]
    for thread in threads:
        thread.join()
    assert set(answered) == {2}
    assert set(codes) == {grpc.StatusCode.UNAVAILABLE}  # it takes no calls any more
    assert "Traceback" not in ending.log.read_text()
    (used,) = serving_registry.usage("seller_facts@1", kind="group")
    assert (used.model, used.uses) == ("grpc-words", len(answered))
