"""The server of online vectors, as a service of the stack."""

from __future__ import annotations

import sys
from http.client import HTTPConnection
from pathlib import Path

from feature_store.local.ports import LOOPBACK
from feature_store.local.service import Service
from feature_store.settings import REPOSITORY

SERVER = "serving"
GRPC_PORT = "serving-grpc"
_ANSWER_SECONDS = 5.0


def server(home: Path, port: int, grpc_port: int, needs: tuple[str, ...]) -> Service:
    """The server on two ports of this machine, HTTP and gRPC; the record of the stack says where the rest is."""

    def answers() -> bool:
        connection = HTTPConnection(LOOPBACK, port, timeout=_ANSWER_SECONDS)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        finally:
            connection.close()

    return Service(
        name=SERVER,
        command=(sys.executable, "-m", "serving"),
        folder=REPOSITORY,
        port=port,
        ready=answers,
        environment={
            "FS_HOME": str(home),
            "FS_SERVING_HOST": LOOPBACK,
            "FS_SERVING_PORT": str(port),
            "FS_SERVING_GRPC_PORT": str(grpc_port),
        },
        needs=needs,
        start_seconds=120.0,  # on a machine that is busy with the start of everything else
    )
