"""A real Spark cluster on loopback: Spark's own master and two workers, processes with a core each."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from feature_store.local.programs import package_folder
from tests.integration.cluster.own_processes import OwnProcess
from tests.integration.own_valkey import free_port

WORKERS = 2
_EXECUTOR = "org.apache.spark.executor.CoarseGrainedExecutorBackend"


@dataclass
class SparkCluster:
    """A master and its workers."""

    master: OwnProcess
    workers: list[OwnProcess]

    @property
    def url(self) -> str:
        return f"spark://127.0.0.1:{self.master.port}"

    def start(self) -> None:
        self.master.start()
        for worker in self.workers:
            worker.start()

    def executors(self) -> dict[str, psutil.Process]:
        """The processes of the executors, by their ids."""
        found = {}
        for worker in self.workers:
            for child in psutil.Process(worker.pid).children():
                with suppress(psutil.NoSuchProcess):  # it has just ended
                    words = child.cmdline()
                    if _EXECUTOR in words:
                        found[words[words.index("--executor-id") + 1]] = child
        return found

    def end(self) -> None:
        for worker in self.workers:
            self.kill(worker)
        self.master.kill()

    def kill(self, worker: OwnProcess) -> None:
        """Ends a worker with its executors and their Python workers, as when its machine is switched off."""
        if worker.process is not None and worker.process.poll() is None:
            children = psutil.Process(worker.pid).children(recursive=True)
            worker.kill()
            for child in children:
                if child.is_running():
                    child.kill()
            psutil.wait_procs(children, 60)


def own_cluster(java_home: Path, folder: Path, secrets: Mapping[str, str]) -> SparkCluster:
    """A cluster that is not started yet.

    Args:
        secrets: what only the machines of the workers have in their environment, for what they read and write.
    """
    places = ("PATH", "HOME", "TMPDIR", "JAVA_TOOL_OPTIONS")
    plain = {name: os.environ[name] for name in places if name in os.environ}
    home = package_folder("pyspark")
    (core,) = home.glob("jars/spark-core_*.jar")
    scala = core.name.removeprefix("spark-core_").partition("-")[0]  # spark-class sets it, which is not used here
    environment = {**plain, "JAVA_HOME": str(java_home), "SPARK_HOME": str(home), "SPARK_SCALA_VERSION": scala}
    java = [str(java_home / "bin" / "java"), "-Xmx128m", "-XX:+UseSerialGC"]
    java += ["-cp", str(home / "jars" / "*")]
    port = free_port()
    here = ["--host", "127.0.0.1", "--webui-port", "0"]
    master = [*java, "org.apache.spark.deploy.master.Master", *here, "--port", str(port)]
    workers = []
    for number in range(WORKERS):
        worker = [*java, "org.apache.spark.deploy.worker.Worker", *here, "--cores", "1", "--memory", "700M"]
        worker += ["--work-dir", str(folder / f"worker-{number}"), f"spark://127.0.0.1:{port}"]
        workers.append(OwnProcess(worker, folder / f"worker-{number}.log", {**environment, **secrets}))
    return SparkCluster(OwnProcess(master, folder / "master.log", environment, port), workers)
