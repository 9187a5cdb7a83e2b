"""Slots of Dagster's pools: a run that ends in any way gives them back. Real run processes, the stack's Postgres."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster._core.test_utils import create_run_for_test, create_test_daemon_workspace_context
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import PythonFileTarget
from dagster._daemon.monitoring import execute_concurrency_slots_iteration, execute_run_monitoring_iteration
from sqlalchemy import create_engine, text

from feature_store.local.orchestrator import instance_file
from feature_store.settings import Settings
from resources.run_launcher import run_process
from tests.conftest import Eventually

JOBS = Path(__file__).with_name("pool_jobs.py")
DATABASE = "dagster_pools"


@dataclass(frozen=True)
class Daemon:
    """What Dagster's daemon works with: its instance, and a code server of its own."""

    instance: dg.DagsterInstance
    workspace: WorkspaceProcessContext

    def launch(self) -> str:
        """Starts a run of the job, whose step never ends; returns its id."""
        server = self.workspace.create_request_context().get_code_location("pools")
        job = server.get_repository("__repository__").get_full_job("features")
        run = create_run_for_test(
            self.instance,
            "features",
            remote_job_origin=job.get_remote_origin(),
            job_code_origin=job.get_python_origin(),
        )
        self.instance.launch_run(run.run_id, self.workspace.create_request_context())
        return run.run_id

    def monitor(self) -> None:
        """One look of run monitoring."""
        logger = logging.getLogger("monitoring")
        for iteration in (execute_run_monitoring_iteration, execute_concurrency_slots_iteration):
            assert not any(iteration(self.workspace, logger))

    def status(self, run: str) -> str:
        found = self.instance.get_run_by_id(run)
        assert found is not None
        return found.status.value

    def holders(self) -> set[str]:
        """The runs that hold slots of the pool."""
        return {slot.run_id for slot in self.instance.event_log_storage.get_concurrency_info("spark").claimed_slots}

    def process(self, run: str) -> psutil.Process:
        """The process that executes a run."""
        reported = run_process(self.instance.all_logs(run, of_type=dg.DagsterEventType.ENGINE_EVENT))
        assert reported is not None
        return psutil.Process(reported.pid)


@pytest.fixture(scope="module")
def instance(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    """An instance of the repository's dagster.yaml, with one slot for each pool, in a database of its own."""
    home = tmp_path_factory.mktemp("dagster")
    (home / "dagster.yaml").write_text(instance_file(pool_slots=1), encoding="utf-8")
    server = create_engine(stack.database_url("postgres"), isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {DATABASE}"))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DAGSTER_HOME", str(home))
        environment.setenv("FS_DAGSTER_PG_URL", stack.database_url(DATABASE))
        with dg.DagsterInstance.get() as instance:
            yield instance
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {DATABASE} WITH (FORCE)"))
    server.dispose()


@contextmanager
def daemon(instance: dg.DagsterInstance) -> Iterator[Daemon]:
    others = set(psutil.Process().children(recursive=True))
    target = PythonFileTarget(str(JOBS), attribute=None, working_directory=str(JOBS.parent), location_name="pools")
    with create_test_daemon_workspace_context(target, instance) as workspace:
        yield Daemon(instance, workspace)
        for process in {*psutil.Process().children(recursive=True)} - others:  # the code server, runs still at work
            with suppress(psutil.Error):  # it has ended
                if {"dagster", "--multiprocessing-fork"} & set(process.cmdline()):
                    process.kill()


def test_a_run_that_ends_in_any_way_gives_its_slot_to_the_next(
    instance: dg.DagsterInstance, eventually: Eventually
) -> None:
    with daemon(instance) as now:
        killed = now.launch()
        eventually(lambda: now.holders() == {killed})
        now.monitor()
        assert now.status(killed) == "STARTED", "a run that lives goes on"
        now.process(killed).kill()
        with_its_server = now.launch()
        eventually(lambda: now.monitor() or now.holders() == {with_its_server})
        assert now.status(killed) == "FAILURE"
        process = now.process(with_its_server)
        psutil.Process(process.ppid()).kill()
        process.kill()
    with daemon(instance) as now:
        canceled = now.launch()
        eventually(lambda: now.monitor() or now.holders() == {canceled})
        assert now.status(with_its_server) == "FAILURE"
        run = instance.get_run_by_id(canceled)
        assert run is not None
        instance.report_run_canceled(run)  # what "force termination" in the user interface does
        eventually(lambda: now.monitor() or now.holders() == set())
