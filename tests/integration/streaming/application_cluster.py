"""A command for FS_FLINK_DEPLOY, as a platform would write one: application clusters, as processes of this machine.

`python application_cluster.py <state folder> <folder> start|check|stop <name>`: the state folder is that of the stack,
whose Flink it uses; the other holds a folder for each cluster, with `url`, `pids`, the spec and the logs.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from feature_store import stack_file
from feature_store.local import flink
from feature_store.settings import Settings
from feature_store.streaming import run_job
from feature_store.streaming.deployment import translator_environment

SESSION = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
APPLICATION = "org.apache.flink.container.entrypoint.StandaloneApplicationClusterEntryPoint"
MAIN = ("--job-classname", "org.apache.flink.client.python.PythonDriver", "-py", str(Path(run_job.__file__)))


def start(settings: Settings, folder: Path, spec: str) -> None:
    """Starts a JobManager, which runs the spec, and a TaskManager."""
    stop(folder)
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    (folder / "spec.json").touch(mode=0o600)
    (folder / "spec.json").write_text(spec)
    ports = free_ports()
    configuration = flink.cluster_configuration(ports, folder, settings.flink_state)
    configuration["python.client.executable"] = str(settings.flink_python)
    package = (settings.flink_home / "bin").resolve().parent
    jars = [jar.resolve() for jar in (settings.flink_home / "lib").glob("*.jar")]
    ours = [jar for jar in jars if package not in jar.parents]
    home = flink.FlinkHome.prepare(folder, package, ours, configuration)
    cluster = flink.EmbeddedFlink(home, settings.java_home, folder / "logs", ports, Path(os.environ["PGPASSFILE"]))
    pids = []
    for service in cluster.services():
        command = [APPLICATION if part == SESSION else part for part in service.command]
        if APPLICATION in command:
            command += [*MAIN, str(folder / "spec.json")]
        with (folder / "logs" / f"{service.name}.out").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, **service.environment, "FLINK_OPT_DIR": str(package / "opt")},  # it follows no links
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        pids.append(process.pid)
        (folder / "pids").write_text(" ".join(map(str, pids)))
    (folder / "url").write_text(cluster.url)


def check(settings: Settings, folder: Path, spec: str) -> int:
    """Translates a spec with the Flink Python of this machine; gives its exit code."""
    path = folder.with_suffix(".check")
    path.touch(mode=0o600)
    path.write_text(spec)
    command = [str(settings.flink_python), run_job.__file__, "--check", str(path)]
    done = subprocess.run(command, env={**os.environ, **translator_environment(settings)}, check=False)
    path.unlink()
    return done.returncode


def stop(folder: Path) -> None:
    """Ends a cluster, however far it has come."""
    pids = [int(pid) for pid in (folder / "pids").read_text().split()] if (folder / "pids").exists() else []
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    while any(stack_file.Identity.of(pid) for pid in pids):
        time.sleep(0.05)
    for name in ("pids", "url"):
        (folder / name).unlink(missing_ok=True)


def free_ports() -> dict[str, int]:
    """A free port for each of Flink's."""
    with ExitStack() as taken:
        sockets = {name: taken.enter_context(socket.socket()) for name in flink.PORTS}
        for one in sockets.values():
            one.bind(("127.0.0.1", 0))
        return {name: one.getsockname()[1] for name, one in sockets.items()}


if __name__ == "__main__":
    state, clusters, verb, name = sys.argv[1:]
    if verb == "start":
        start(Settings.load({"FS_HOME": state}), Path(clusters) / name, sys.stdin.read())
    elif verb == "check":
        sys.exit(check(Settings.load({"FS_HOME": state}), Path(clusters) / name, sys.stdin.read()))
    else:
        stop(Path(clusters) / name)
