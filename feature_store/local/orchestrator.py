"""Dagster's processes: code servers, the web server that users see, and the daemon behind schedules and sensors."""

from __future__ import annotations

import json
import sys
import urllib.request

import yaml

from feature_store.local.code_locations import code_locations, scratch_folder
from feature_store.local.ports import LOOPBACK
from feature_store.local.service import Service
from feature_store.settings import REPOSITORY
from feature_store.stack_file import Connections
from feature_store.stack_settings import StackSettings

WEB_SERVER = "dagster"
DAEMON = "dagster-daemon"
START_SECONDS = 180.0  # the code location is imported by both, on a machine that may be busy
ANSWER_SECONDS = 5.0

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy: it is this machine
_HEALTH = "{ instance { daemonHealth { allDaemonStatuses { required healthy } } } }"


def dagster_services(
    settings: StackSettings, connections: Connections, database_url: str, port: int, needs: tuple[str, ...]
) -> tuple[Service, ...]:
    """The code servers, the web server on `port` and the daemon, with `<home>/dagster` as their home.

    Args:
        settings: what the stack was asked for.
        connections: where the other services are.
        database_url: SQLAlchemy URL of Dagster's own database, with its driver; it stands in the environment, so
            without a password.
        port: of the web server.
        needs: names of the services to wait for.

    Raises:
        StackError: if the workspace file does not exist, or is none.
    """
    home = settings.home / "dagster"
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text(instance_file(settings.pool_slots), encoding="utf-8")
    environment = {
        "DAGSTER_HOME": str(home),
        "FS_DAGSTER_PG_URL": database_url,
        "FS_HOME": str(settings.home),
        "JAVA_HOME": connections.java_home,
        "PYSPARK_PYTHON": sys.executable,  # else Spark's workers take the first python3 on PATH
        "PYTHONUNBUFFERED": "1",
        "GX_ANALYTICS_ENABLED": "false",
        "DAGSTER_EVENT_BATCH_SIZE": "500",  # of a run over many partitions; one by one they take 50 ms each
        "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": "180",  # a tick may start jobs of Flink; on a busy machine that takes
        "TMPDIR": str(scratch_folder(settings.home)),
    }
    locations = code_locations(settings.workspace, settings.home, environment, needs, START_SECONDS)
    needs = (*needs, *(service.name for service in locations.services))
    workspace = ("-w", str(locations.workspace))
    address = f"http://{LOOPBACK}:{port}"
    server = Service(
        name=WEB_SERVER,
        command=(sys.executable, "-m", "dagster_webserver", "-h", LOOPBACK, "-p", str(port), *workspace),
        folder=settings.workspace.parent,
        port=port,
        ready=lambda: "dagster_webserver_version" in _get(f"{address}/server_info"),
        environment=environment,
        needs=needs,
        start_seconds=START_SECONDS,
    )
    daemon = Service(
        name=DAEMON,
        command=(sys.executable, "-m", "dagster._daemon", "run", *workspace),
        folder=settings.workspace.parent,
        port=None,
        ready=lambda: _daemons_are_healthy(address),
        environment=environment,
        needs=needs,
        start_seconds=START_SECONDS,
    )
    return *locations.services, server, daemon


def instance_file(pool_slots: int) -> str:
    """The repository's `dagster.yaml` with the number of slots that each pool has."""
    instance = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text(encoding="utf-8"))
    instance["concurrency"]["pools"]["default_limit"] = pool_slots
    return str(yaml.safe_dump(instance, sort_keys=False))


def _daemons_are_healthy(address: str) -> bool:
    answer = json.loads(_get(f"{address}/graphql", {"query": _HEALTH}))
    if not answer.get("data"):  # it serves already, but not its database yet
        return False
    statuses = answer["data"]["instance"]["daemonHealth"]["allDaemonStatuses"]
    return all(status["healthy"] for status in statuses if status["required"])


def _get(url: str, body: dict[str, str] | None = None) -> str:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with _DIRECT.open(request, timeout=ANSWER_SECONDS) as answer:
        return str(answer.read().decode("utf-8"))
