"""What a stack consists of: the embedded services to start and the existing ones to use, and how to connect to both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from feature_store.local import flink, jars, java_build, kafka, postgres, serving, streaming, valkey
from feature_store.local.java import check_java_home, embedded_java_home
from feature_store.local.orchestrator import WEB_SERVER, dagster_services
from feature_store.local.ports import LOOPBACK, plan_ports
from feature_store.local.programs import package_folder
from feature_store.local.service import Service
from feature_store.secret_files import with_passfile, write_pgpass
from feature_store.settings import database_url
from feature_store.stack_file import Connections, ServiceRecord
from feature_store.stack_settings import StackSettings

_NAMED_PORTS = (
    *("postgres", "valkey", WEB_SERVER, kafka.KAFKA, kafka.CONTROLLER_PORT, *flink.PORTS),
    *(serving.SERVER, serving.GRPC_PORT),
)
_PORT_OFFSETS = {name: offset for offset, name in enumerate(_NAMED_PORTS)}


@dataclass(frozen=True)
class Assembly:
    """Services in the order of their start, those that exist already, and the way to all of them."""

    services: tuple[Service, ...]
    external: tuple[ServiceRecord, ...]
    connections: Connections
    notices: tuple[str, ...]


def assemble(settings: StackSettings, *, dagster: bool, streams: bool) -> Assembly:
    """Prepares everything that has to be there before the first service starts.

    Existing services are checked (and given our databases), embedded ones get their folders, passwords and ports.

    Raises:
        StackError: if something cannot be used; nothing has been started then.
    """
    external = (*_existing(settings), *(streaming.existing(settings) if streams else ()))
    embedded = [name for name in ("postgres", "valkey") if name not in {record.name for record in external}]
    plan = plan_ports(
        settings.port,
        [
            *embedded,
            *([WEB_SERVER, serving.SERVER, serving.GRPC_PORT] if dagster else []),
            *(streaming.ports(settings) if streams else []),
        ],
        _PORT_OFFSETS,
        fixed=settings.port_is_chosen,
    )
    java_home = check_java_home(settings.java_home) if settings.java_home else embedded_java_home(settings.home)
    services: list[Service] = []
    pg_url, redis_url = settings.pg_url, settings.redis_url
    if "postgres" in embedded:
        server = postgres.EmbeddedPostgres.prepare(settings.home, plan.ports["postgres"])
        services.append(server.service())
        pg_url = server.url
    if "valkey" in embedded:
        store = valkey.EmbeddedValkey.prepare(settings.home, plan.ports["valkey"])
        services.append(store.service())
        redis_url = store.url
    lock = jars.read_lock()
    spark, s3 = jars.select(lock, "spark"), jars.select(lock, "s3")
    (compiler,) = (settings.jars / jar.file_name for jar in jars.select(lock, "java"))
    hadoop = sorted((package_folder("pyspark") / "jars").glob("hadoop-client-*.jar"))
    files = java_build.build_jar(java_home, compiler, hadoop, java_build.LOCAL_FILES, settings.home / "java")
    connections = Connections(
        pg_url=pg_url,
        redis_url=redis_url,
        java_home=str(java_home),
        spark_jars=tuple(str(settings.jars / jar.file_name) for jar in spark),
        local_files_jar=str(files),
        s3_jars=tuple(str(settings.jars / jar.file_name) for jar in s3),
        online_stores=dict(settings.online_stores),
    )
    if streams:
        half = streaming.prepare(settings, connections, plan.ports, needs=embedded)
        services += half.services
        connections = half.connections
    if dagster:
        port = plan.ports[WEB_SERVER]
        rest, grpc = plan.ports[serving.SERVER], plan.ports[serving.GRPC_PORT]
        connections = replace(
            connections,
            dagster_url=f"http://{LOOPBACK}:{port}",
            serving_url=f"http://{LOOPBACK}:{rest}",
            serving_grpc=f"{LOOPBACK}:{grpc}",
        )
        services.append(serving.server(settings.home, rest, grpc, needs=tuple(embedded)))
        database = with_passfile(database_url(pg_url, "dagster"), write_pgpass(settings.home, pg_url))
        services += dagster_services(settings, connections, database, port, needs=tuple(embedded))
    return Assembly(tuple(services), external, connections, plan.notices)


def _existing(settings: StackSettings) -> Sequence[ServiceRecord]:
    records = []
    if settings.pg_url:
        postgres.check_server(settings.pg_url)
        records.append(ServiceRecord("postgres", "external", message="FS_PG_URL"))
    if settings.redis_url:
        valkey.check_server(settings.redis_url)
        records.append(ServiceRecord("valkey", "external", message="FS_REDIS_URL"))
    for name, url in settings.online_stores.items():
        valkey.check_server(url, where=f"FS_ONLINE_STORES, {name}")
        records.append(ServiceRecord(f"online store {name}", "external", message="FS_ONLINE_STORES"))
    return records
