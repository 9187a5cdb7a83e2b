"""The half of the stack that streams need: Kafka, Flink with our functions, and the loader of their rows into Redis."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from feature_store.local import flink, flink_environment, jars, java_build, kafka
from feature_store.local.jars import Jar
from feature_store.local.service import Service
from feature_store.secret_files import write_kafka, write_pgpass
from feature_store.settings import LOADER_READY, REPOSITORY
from feature_store.stack_file import Connections, ServiceRecord
from feature_store.stack_settings import StackSettings
from feature_store.streaming.cluster import rest_options

LOADER = "stream-loader"
LOADER_MODULE = "feature_store.streaming.service"
"""In the state folder; the loader removes it when it starts, and makes it when it serves."""


@dataclass(frozen=True)
class Streaming:
    """The services to start, in order, and the way to them and to those that exist already."""

    services: tuple[Service, ...]
    connections: Connections


def needed_jars(settings: StackSettings) -> tuple[Jar, ...]:
    """What has to be downloaded, beside Spark's."""
    lock = jars.read_lock()
    groups = ("flink",) if settings.kafka else ("kafka", "flink")
    return tuple(dict.fromkeys(jar for group in groups for jar in jars.select(lock, group)))


def ports(settings: StackSettings) -> tuple[str, ...]:
    """The names of the ports that the embedded services need."""
    return (
        *(() if settings.kafka else (kafka.KAFKA, kafka.CONTROLLER_PORT)),
        *(() if settings.flink_url else flink.PORTS),
    )


def existing(settings: StackSettings) -> Iterable[ServiceRecord]:
    """The services that settings name.

    Raises:
        StackError: if one of them cannot be used.
    """
    if settings.kafka:
        kafka.check_servers(settings.kafka)
        yield ServiceRecord(kafka.KAFKA, "external", message="FS_KAFKA")
    if settings.flink_url:
        if not settings.flink_deploy:  # application clusters come with their jobs
            flink.check_cluster(settings.flink_url)
        yield ServiceRecord(flink.JOB_MANAGER, "external", message="FS_FLINK_URL")


def prepare(
    settings: StackSettings, connections: Connections, chosen: Mapping[str, int], needs: Sequence[str]
) -> Streaming:
    """Makes folders and configurations, formats Kafka's data folder and compiles our functions where that is due.

    Args:
        settings: what the stack was asked for; the jars and Flink's environment are there.
        connections: where the other services are.
        chosen: the ports, by the names that `ports` gives.
        needs: names of the embedded services that the loader waits for, beside Kafka.

    Raises:
        StackError: if something cannot be made.
    """
    lock, java_home = jars.read_lock(), Path(connections.java_home)
    python = settings.flink_python or flink_environment.python_of(settings.home)

    def paths(group: str) -> list[Path]:
        return [settings.jars / jar.file_name for jar in jars.select(lock, group)]

    with ThreadPoolExecutor() as pool:  # the first time, Kafka and the compiler take seconds
        broker = None
        if not settings.kafka:
            broker = pool.submit(
                kafka.EmbeddedKafka.prepare,
                settings.home,
                java_home,
                paths("kafka"),
                chosen[kafka.KAFKA],
                chosen[kafka.CONTROLLER_PORT],
            )
        if settings.flink_url:
            configuration: Mapping[str, object] = rest_options(settings.flink_url)
        else:
            configuration = flink.cluster_configuration(chosen, settings.home, settings.flink_state)
        package = flink_environment.package_of(python)
        libraries = [*paths("flink"), Path(connections.local_files_jar)]
        home = flink.FlinkHome.prepare(settings.home, package, libraries, configuration)
        jar = java_build.build_jar(java_home, paths("java")[0], home.jars, java_build.KERNEL, home.folder)
        servers, services = settings.kafka, list[Service]()
        if broker is not None:
            servers = broker.result().servers
            services.append(broker.result().service())
    url = settings.flink_url
    if not url:
        pgpass = write_pgpass(settings.home, connections.pg_url)
        write_kafka(settings.home, servers)
        cluster = flink.EmbeddedFlink(home, java_home, settings.home / "logs", chosen, pgpass)
        services += cluster.services()
        url = cluster.url
    connections = replace(
        connections,
        kafka_servers=servers,
        flink_url=url,
        flink_python=str(python),
        flink_home=str(home.folder),
        flink_state=settings.flink_state,
        flink_deploy=settings.flink_deploy,
        flink_kernel=settings.flink_kernel,
        flink_secrets=settings.flink_secrets,
        kernel_jar=str(jar),
    )
    services.append(_loader(settings, connections, (*needs, *(() if settings.kafka else (kafka.KAFKA,)))))
    return Streaming(tuple(services), connections)


def _loader(settings: StackSettings, connections: Connections, needs: Sequence[str]) -> Service:
    sign = settings.home / LOADER_READY
    sign.unlink(missing_ok=True)
    return Service(
        name=LOADER,
        command=(sys.executable, "-m", LOADER_MODULE),
        folder=REPOSITORY,
        port=None,
        ready=sign.exists,
        environment={"FS_HOME": str(settings.home), "JAVA_HOME": connections.java_home, "PYTHONUNBUFFERED": "1"},
        needs=tuple(needs),
        start_seconds=120.0,
    )
