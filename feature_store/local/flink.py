"""Flink: an embedded session cluster of one JobManager and one TaskManager, or somebody's cluster.

Both are started as plain Java programs in the foreground, so that their supervisor notices when they are killed.
Flink's own scripts would first start another Java to compute the memory options that stand here.
"""

from __future__ import annotations

import json
import re
import shutil
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from feature_store.errors import StackError
from feature_store.local.ports import LOOPBACK, accepts
from feature_store.local.service import Service
from feature_store.settings import LOCAL_FILES_CLASS

JOB_MANAGER = "flink-jobmanager"
TASK_MANAGER = "flink-taskmanager"
REST_PORT = "flink"
RPC_PORT = JOB_MANAGER
TASK_RPC_PORT = TASK_MANAGER
DATA_PORT = "flink-data"
BLOB_PORT = "flink-blob"
PORTS = (REST_PORT, RPC_PORT, TASK_RPC_PORT, DATA_PORT, BLOB_PORT)
VERSION = "2.1"
START_SECONDS = 120.0
ANSWER_SECONDS = 3.0

_JOB_HEAP_MIB = 384
_TASK_HEAP_MIB = 512
_FRAMEWORK_MIB = 128  # of the TaskManager, on the heap and again beside it
_NETWORK_MIB = 64
_METASPACE_MIB = 256
_ROCKSDB_MIB = 256
_OVERHEAD_MIB = _ROCKSDB_MIB + 128  # what Java takes for itself, and RocksDB, which is not its own memory either
_SLOTS = 16

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy: it is this machine


def cluster_configuration(ports: Mapping[str, int], home: Path, state: str) -> dict[str, object]:
    """Of the embedded cluster. State backend, folders and restarts hold for every job that does not set its own.

    What stands here under `execution` and `pipeline` besides is seen by clients that read this file (`flink run`), not
    by a TableEnvironment with a configuration of its own: who makes one says it again.

    Args:
        ports: by the names in `PORTS`.
        home: the state folder.
        state: the URL under which checkpoints and savepoints are put.
    """
    return {
        "jobmanager.bind-host": LOOPBACK,
        "jobmanager.rpc.address": LOOPBACK,
        "jobmanager.rpc.port": ports[RPC_PORT],
        "blob.server.port": ports[BLOB_PORT],
        "rest.address": LOOPBACK,
        "rest.bind-address": LOOPBACK,
        "rest.port": ports[REST_PORT],
        "rest.bind-port": ports[REST_PORT],
        "web.submit.enable": False,
        "taskmanager.bind-host": LOOPBACK,
        "taskmanager.host": LOOPBACK,
        "taskmanager.rpc.port": ports[TASK_RPC_PORT],
        "taskmanager.data.port": ports[DATA_PORT],
        "taskmanager.resource-id": TASK_MANAGER,  # a restarted one takes the place of the lost one at once
        "taskmanager.numberOfTaskSlots": _SLOTS,
        "taskmanager.cpu.cores": _SLOTS,
        "taskmanager.memory.framework.heap.size": f"{_FRAMEWORK_MIB}m",
        "taskmanager.memory.framework.off-heap.size": f"{_FRAMEWORK_MIB}m",
        "taskmanager.memory.task.heap.size": f"{_TASK_HEAP_MIB}m",
        "taskmanager.memory.task.off-heap.size": "0m",
        "taskmanager.memory.network.min": f"{_NETWORK_MIB}m",
        "taskmanager.memory.network.max": f"{_NETWORK_MIB}m",
        "taskmanager.memory.managed.size": f"{_NETWORK_MIB}m",  # bounded jobs sort in it
        "taskmanager.memory.jvm-metaspace.size": f"{_METASPACE_MIB}m",
        "taskmanager.memory.jvm-overhead.min": f"{_OVERHEAD_MIB}m",
        "taskmanager.memory.jvm-overhead.max": f"{_OVERHEAD_MIB}m",
        "io.tmp.dirs": str(_folder(home) / "tmp"),
        "state.backend.type": "rocksdb",
        "state.backend.rocksdb.memory.managed": False,  # else the next line has no effect
        "state.backend.rocksdb.memory.fixed-per-tm": f"{_ROCKSDB_MIB}m",  # a sixteenth each would be too little
        "state.backend.rocksdb.writebuffer.size": "16mb",
        "execution.checkpointing.mode": "EXACTLY_ONCE",
        "execution.checkpointing.incremental": True,
        "execution.checkpointing.dir": f"{state}/checkpoints",
        "execution.checkpointing.savepoint-dir": f"{state}/savepoints",
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "execution.checkpointing.num-retained": 2,
        "execution.buffer-timeout.interval": "20 ms",
        "pipeline.auto-watermark-interval": "100 ms",
        "restart-strategy.type": "exponential-delay",
        "restart-strategy.exponential-delay.initial-backoff": "1 s",
        "restart-strategy.exponential-delay.max-backoff": "30 s",
        "metrics.fetcher.update-interval": 1000,  # what is shown of jobs is not older
        "heartbeat.interval": 1000,
        "heartbeat.timeout": 8000,
        "cluster.registration.error-delay": 1000,
        "cluster.registration.refused-registration-delay": 1000,
        "slot.request.timeout": 60_000,
        "classloader.check-leaked-classloader": False,  # Hadoop's threads outlive every job
        "flink.hadoop.fs.file.impl": LOCAL_FILES_CLASS,  # of the clients, who tell their jobs
    }


_QUIET = {
    "org.apache.flink.configuration.GlobalConfiguration": "WARN",  # a hundred lines at every start
    "org.apache.flink.runtime.entrypoint.ClusterEntrypoint": "WARN",  # and these, too
    "org.apache.flink.runtime.taskexecutor.TaskManagerRunner": "WARN",
    "org.apache.flink.runtime.checkpoint": "WARN",  # several lines for every checkpoint
    "org.apache.flink.connector": "WARN",
    "org.apache.flink.runtime.util.HadoopUtils": "ERROR",  # there is no Hadoop, which is as it should be
    "org.apache.flink.runtime.security.token": "ERROR",
    "org.apache.hadoop": "ERROR",
    "org.apache.flink.metrics": "ERROR",  # two committers of one sink have metrics of one name
    "org.apache.flink.runtime.metrics": "ERROR",
    "org.apache.flink.api.java.typeutils": "ERROR",
    "org.apache.pekko": "ERROR",
}


@dataclass(frozen=True)
class FlinkHome:
    """`<home>/flink`: `lib` with Flink's and our jars, `conf`, and links to the rest of the package pyflink.

    Clients need it even where the cluster is somebody else's: FLINK_HOME and FLINK_CONF_DIR of whoever submits a job.

    Attributes:
        folder: `<home>/flink`.
        java_options: the module options that Flink needs.
    """

    folder: Path
    java_options: str

    @classmethod
    def prepare(cls, home: Path, package: Path, jars: Sequence[Path], configuration: Mapping[str, object]) -> FlinkHome:
        """Makes the folder anew from the package, which stays as it is; checkpoints and savepoints in it are kept.

        Raises:
            StackError: if the package is not Flink's.
        """
        folder = _folder(home)
        lib, conf = folder / "lib", folder / "conf"
        for made in (lib, conf, folder / "tmp"):
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir(parents=True)
        shipped = [*sorted((package / "lib").glob("*.jar")), *(package / "opt").glob("flink-python-*.jar")]
        for jar in (*shipped, *jars):
            (lib / jar.name).symlink_to(jar)
        for name in ("bin", "opt", "plugins"):
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(package / name)
        java_options = _java_options(package / "conf" / "config.yaml")
        settings = {"env.java.opts.all": java_options, **configuration}
        lines = (f"{key}: {json.dumps(value)}\n" for key, value in settings.items())  # JSON is YAML
        (conf / "config.yaml").write_text("".join(lines), encoding="utf-8")
        client_log = home / "logs" / "flink-client.log"
        (conf / "log4j-console.properties").write_text(_logging({"type": "Console"}), encoding="utf-8")
        (conf / "log4j-cli.properties").write_text(
            _logging({"type": "File", "fileName": str(client_log)}), encoding="utf-8"
        )
        return cls(folder, java_options)

    @property
    def jars(self) -> tuple[Path, ...]:
        """The class path, Flink's own classes last, as its scripts have it."""
        return tuple(sorted((self.folder / "lib").glob("*.jar"), key=lambda jar: ("flink-dist" in jar.name, jar.name)))


@dataclass(frozen=True)
class EmbeddedFlink:
    """The two programs of the session cluster.

    Attributes:
        home: Flink's folder.
        java_home: the Java they run on.
        logs: the folder of the supervisor's logs; Flink's web pages show them, too.
        ports: by the names in `PORTS`.
        pgpass: the file that the JDBC driver of PostgreSQL looks passwords up in.
    """

    home: FlinkHome
    java_home: Path
    logs: Path
    ports: Mapping[str, int]
    pgpass: Path

    @property
    def url(self) -> str:
        """The REST address; a browser finds Flink's web pages there."""
        return f"http://{LOOPBACK}:{self.ports[REST_PORT]}"

    def services(self) -> tuple[Service, ...]:
        metaspace = f"-XX:MaxMetaspaceSize={_METASPACE_MIB}m"
        direct = f"-XX:MaxDirectMemorySize={_FRAMEWORK_MIB + _NETWORK_MIB}m"
        job_options = (f"-Xmx{_JOB_HEAP_MIB}m", "-XX:TieredStopAtLevel=1", metaspace)
        task_options = (f"-Xmx{_FRAMEWORK_MIB + _TASK_HEAP_MIB}m", direct, metaspace)
        registration = _Registration(self.url, self.ports[TASK_RPC_PORT])
        return (
            Service(
                name=JOB_MANAGER,
                command=self._command(JOB_MANAGER, "entrypoint.StandaloneSessionClusterEntrypoint", job_options),
                folder=self.home.folder,
                port=self.ports[REST_PORT],
                ready=lambda: "flink-version" in overview(self.url),
                environment=self._environment,
                start_seconds=START_SECONDS,
            ),
            Service(
                name=TASK_MANAGER,
                command=self._command(TASK_MANAGER, "taskexecutor.TaskManagerRunner", task_options),
                folder=self.home.folder,
                port=self.ports[TASK_RPC_PORT],
                ready=registration.is_new,
                environment=self._environment,
                needs=(JOB_MANAGER,),
                start_seconds=START_SECONDS,
            ),
        )

    @property
    def _environment(self) -> dict[str, str]:
        folder = self.home.folder
        folders = {name: str(folder / name.lower()) for name in ("LIB", "CONF", "OPT", "PLUGINS", "BIN")}
        return {
            "JAVA_HOME": str(self.java_home),
            "FLINK_HOME": str(folder),
            **{f"FLINK_{name}_DIR": path for name, path in folders.items()},
            "PGPASSFILE": str(self.pgpass),
            "MALLOC_ARENA_MAX": "2",  # RocksDB allocates from many threads
        }

    def _command(self, name: str, program: str, options: Sequence[str]) -> tuple[str, ...]:
        conf = self.home.folder / "conf"
        return (
            str(self.java_home / "bin" / "java"),
            "-Xms64m",
            *options,
            "-XX:+UseSerialGC",
            "-XX:+ExitOnOutOfMemoryError",
            "-XX:+IgnoreUnrecognizedVMOptions",
            *self.home.java_options.split(),
            f"-Dlog.file={self.logs / name}.log",
            f"-Dlog4j.configurationFile={conf / 'log4j-console.properties'}",
            "-cp",
            ":".join(map(str, self.home.jars)),
            f"org.apache.flink.runtime.{program}",
            "--configDir",
            str(conf),
        )


@dataclass
class _Registration:
    """Tells the TaskManager just started from the one before it, which the JobManager lists for a while longer."""

    url: str
    rpc_port: int
    listens_since_ms: float = field(default=0.0, init=False)

    def is_new(self) -> bool:
        """Whether the JobManager has heard from a TaskManager since there is one that listens."""
        if not accepts(self.rpc_port):
            self.listens_since_ms = 0.0
            return False
        self.listens_since_ms = self.listens_since_ms or time.time() * 1000
        heard = [entry["timeSinceLastHeartbeat"] for entry in _get(f"{self.url}/taskmanagers")["taskmanagers"]]
        return max(heard, default=0) >= self.listens_since_ms  # by its name a duration, but it is a point in time


def overview(url: str) -> dict[str, Any]:
    """What a cluster says about itself.

    Raises:
        OSError: if it does not answer.
    """
    return _get(f"{url}/overview")


def check_cluster(url: str) -> None:
    """Makes sure that an existing session cluster answers, and is of the version that our jobs are made for.

    Raises:
        StackError: if not.
    """
    remedy = "start it or correct the address, or unset the variable to use the embedded cluster"
    try:
        version = str(overview(url)["flink-version"])
    except (OSError, ValueError, KeyError) as error:
        raise StackError(
            f"the Flink cluster cannot be used ({error})", where="FS_FLINK_URL", remedy=remedy, code="flink-down"
        ) from error
    if not version.startswith(f"{VERSION}."):
        raise StackError(
            f"the cluster runs Flink {version}, and our jobs need {VERSION}",
            where="FS_FLINK_URL",
            remedy=remedy,
            code="flink-version",
        )


def _logging(target: Mapping[str, str]) -> str:
    """A configuration of Log4j that writes what the cluster says, without what it says all the time."""
    settings = {"rootLogger.level": "WARN", "rootLogger.appenderRef.log.ref": "log"}
    for number, (name, level) in enumerate({"org.apache.flink": "INFO", **_QUIET}.items()):
        settings |= {f"logger.l{number}.name": name, f"logger.l{number}.level": level}
    pattern = "%d{yyyy-MM-dd HH:mm:ss} %p %c{1}: %m%n"
    appender = {"name": "log", "layout.type": "PatternLayout", "layout.pattern": pattern, **target}
    settings |= {f"appender.log.{key}": value for key, value in appender.items()}
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def _folder(home: Path) -> Path:
    return home / "flink"


def _get(url: str) -> dict[str, Any]:
    with _DIRECT.open(url, timeout=ANSWER_SECONDS) as answer:
        body: dict[str, Any] = json.load(answer)
        return body


def _java_options(shipped: Path) -> str:
    """The module options that Flink's own configuration asks for, without those about a compiler we do not have."""
    try:
        line = re.search(r"^ +all: (--add.*)$", shipped.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError as error:
        raise StackError(
            f"the package pyflink has no configuration ({error})",
            where=str(shipped),
            remedy="install it again",
            code="flink-python",
        ) from error
    return " ".join(option for option in (line[1].split() if line else ()) if "jdk.compiler" not in option)
