"""What several server processes share: ports, counts, the rate of a token; their settings."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from feature_store.errors import StackError
from feature_store.online.vectors import Status
from feature_store.settings import REPOSITORY
from serving.families import Family, text_of, together
from serving.metrics import ServingMetrics
from serving.rate import RateLimits
from serving.settings import ServingSettings
from serving.workers.place import WorkerPlace
from serving.workers.ports import ReservedPort, shared_sockets

Asked = Mapping[str, int]
ASKED = st.dictionaries(st.sampled_from(["a", "b", 'c"\n', "é"]), st.integers(1, 30))
Shown = dict[tuple[str, frozenset[tuple[str, str]]], float]


def metrics(asked: Asked, age: float = 1.0, up: bool = True) -> ServingMetrics:
    """Of a process that was asked so many times for each group; every second time quickly."""
    made = ServingMetrics(lambda: up, lambda: age)
    for group, times in asked.items():
        for i in range(times):
            made.note("/route", group, 200, 0.25 if i % 2 else 0.75)
        made.values[group, Status.PRESENT] += 3 * times
        made.behind[group] = age
    return made


def read(text: bytes) -> Shown:
    families = text_string_to_metric_families(text.decode())
    return {(each.name, frozenset(each.labels.items())): each.value for family in families for each in family.samples}


@given(st.lists(ASKED, min_size=1, max_size=4))
def test_the_counts_of_processes_are_those_of_one_that_is_asked_everything(processes: list[Asked]) -> None:
    everything: Counter[str] = Counter()
    for asked in processes:
        everything.update(asked)
    parts = [msgspec.msgpack.encode([*metrics(asked).families()]) for asked in processes]
    found = read(text_of(together(msgspec.msgpack.decode(part, type=list[Family]) for part in parts)))
    for group, times in everything.items():
        target = frozenset({("route", "/route"), ("target", group)})
        assert found["feature_store_request_seconds_bucket", target | {("le", "0.5")}] == sum(
            asked.get(group, 0) // 2 for asked in processes
        )
        assert found["feature_store_request_seconds_count", target] == times
        assert found["feature_store_entities_total", frozenset({("group", group), ("status", "PRESENT")})] == 3 * times
    requests = found.get(("feature_store_requests_total", frozenset({("route", "/route"), ("status", "200")})), 0)
    assert requests == everything.total()
    assert set(found) == set(read(metrics(everything).text()))


def test_of_gauges_the_worst_counts() -> None:
    processes = metrics({"a": 1}, age=3.0), metrics({"a": 1}, age=2.0, up=False)
    found = read(text_of(together(each.families() for each in processes)))
    assert found["feature_store_definitions_age_seconds", frozenset()] == 3.0
    assert found["feature_store_group_age_seconds", frozenset({("group", "a")})] == 3.0
    assert found["feature_store_redis_up", frozenset()] == 0.0


def requests_of(place: WorkerPlace, asked: Asked) -> Shown:
    """What a worker shows that was asked so much itself."""
    return read(place.text(metrics(asked)))


REQUESTS = ("feature_store_requests_total", frozenset({("route", "/route"), ("status", "200")}))
UP, AGE = ("feature_store_workers", frozenset()), ("feature_store_definitions_age_seconds", frozenset())


def test_a_place_goes_on_from_the_counts_of_its_dead_worker(tmp_path: Path) -> None:
    """The dead one is a process of its own, so that its id is that of nobody."""
    program = (
        "import sys; from pathlib import Path; from tests.unit.serving.test_workers import *\n"
        "WorkerPlace(1, 2, Path(sys.argv[1]), 0).text(metrics({'a': 10, 'b': 1}, age=99.0))"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=REPOSITORY, check=True)
    other = WorkerPlace(2, 2, tmp_path, os.getppid())
    found = requests_of(other, {"a": 5})
    assert (found[REQUESTS], found[UP], found[AGE]) == (16, 1, 1.0)  # the age is not that of the dead one
    assert other.health() == {"number": 2, "pid": os.getpid(), "up": 1, "of": 2}
    successor = WorkerPlace(1, 2, tmp_path, os.getppid())
    assert requests_of(successor, {})[REQUESTS] == 16
    assert requests_of(other, {"a": 5})[REQUESTS] == 16
    assert requests_of(successor, {"b": 2})[REQUESTS] == 18
    third = WorkerPlace(1, 2, tmp_path, os.getppid())
    assert requests_of(third, {"b": 1})[REQUESTS] == 19
    assert requests_of(other, {"a": 5})[UP] == 2


def test_a_worker_writes_once_more_when_it_ends(tmp_path: Path) -> None:
    place, counted = WorkerPlace(1, 2, tmp_path, os.getppid()), metrics({"a": 1})

    async def work() -> None:
        task = asyncio.create_task(place.run(counted))
        await asyncio.sleep(0)
        counted.note("/route", "a", 200, 0.1)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(work())
    assert requests_of(WorkerPlace(2, 2, tmp_path, os.getppid()), {})[REQUESTS] == 2


def test_a_worker_whose_folder_is_gone_goes_on(tmp_path: Path) -> None:
    place = WorkerPlace(1, 2, tmp_path / "gone", os.getppid())
    assert requests_of(place, {"a": 5})[REQUESTS] == 5


def test_a_worker_removes_the_folder_of_a_parent_that_was_killed(tmp_path: Path) -> None:
    folder = tmp_path / "counts"
    folder.mkdir()
    WorkerPlace(1, 2, folder, os.getppid()).leave()
    assert folder.exists()
    WorkerPlace(1, 2, folder, os.getpid()).leave()
    assert not folder.exists()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_a_reserved_port_is_for_the_workers_alone(host: str) -> None:
    reserved = ReservedPort(host, 0, "FS_SERVING_PORT")
    workers = [shared for _ in range(2) for shared in shared_sockets(host, reserved.port)]
    with pytest.raises(StackError) as error:
        ReservedPort(host, reserved.port, "FS_SERVING_PORT")
    assert (error.value.code, error.value.where) == ("port", "FS_SERVING_PORT")
    for worker in workers:
        worker.listen()
    with socket.create_connection(("127.0.0.1", reserved.port), 10):
        pass
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind((host, reserved.port))
    for worker in workers:
        worker.close()
    reserved.close()
    ReservedPort(host, reserved.port, "FS_SERVING_PORT").close()


def test_a_host_that_is_none_cannot_be_listened_on() -> None:
    with pytest.raises(StackError, match=r"cannot listen on nowhere\.invalid:0"):
        ReservedPort("nowhere.invalid", 0, "FS_SERVING_PORT")


def test_all_processes_together_keep_to_the_rate_of_a_token() -> None:
    now = 0.0
    processes = [RateLimits(9, lambda: now, processes=4) for _ in range(4)]

    def let_through() -> int:
        return sum(_takes(limits) for limits in processes for _ in range(9))

    assert let_through() == 8  # two each
    now = 1.0
    assert let_through() == 8
    slow = RateLimits(1, lambda: now, processes=4)
    assert _takes(slow)
    now = 4.5
    assert not _takes(slow)
    now = 5.0
    assert _takes(slow)


def _takes(limits: RateLimits) -> bool:
    try:
        limits.take(1)
    except StackError:
        return False
    return True


SERVICES = {"FS_REDIS_URL": "redis://127.0.0.1", "FS_PG_URL": "postgresql://fs@127.0.0.1"}


def test_processes_are_a_number_or_the_cores(tmp_path: Path) -> None:
    given = {**SERVICES, "FS_HOME": str(tmp_path)}
    assert ServingSettings.load(given).processes == 1
    assert ServingSettings.load(given | {"FS_SERVING_PROCESSES": "3"}).processes == 3
    assert ServingSettings.load(given | {"FS_SERVING_PROCESSES": "auto"}).processes == len(os.sched_getaffinity(0))
    for wrong in ("0", "-1", "many", "257", "1.5"):
        with pytest.raises(StackError) as error:
            ServingSettings.load(given | {"FS_SERVING_PROCESSES": wrong})
        assert error.value.code == "serving-processes"


def test_modules_that_are_loaded_before_the_fork_start_no_thread() -> None:
    """Threads do not survive a fork, and locks that they hold stay locked."""
    program = "import os, serving.__main__; print(len(os.listdir('/proc/self/task')))"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


FAILING = """
import sys
from pathlib import Path
from feature_store.errors import StackError
from serving.settings import ServingSettings
from serving.workers import parent

parent.FIRST_PAUSE_SECONDS = 0.01
folder, times = Path(sys.argv[1]), int(sys.argv[2])

def serve(settings, place, tell):
    begun = folder / f"{place.number}.{len([*folder.glob(f'{place.number}.*')])}"
    begun.touch()
    if begun.suffix >= f".{times}":
        raise StackError("the moon is too near", where="the sky", code="test")
    tell()
    sys.exit(7)

sys.exit(parent.run_workers(ServingSettings("", "", folder, (), None, "127.0.0.1", 0, 0), serve))
"""
"""One worker, which ends as soon as it serves, and from the given time on cannot begin."""


@pytest.mark.parametrize(("times", "starts"), [(0, 1), (1, 6), (2, 7)])
def test_a_worker_that_cannot_begin_any_more_ends_the_server(tmp_path: Path, times: int, starts: int) -> None:
    """The first time at once; later, when nobody serves, after five times in a row."""
    command = [sys.executable, "-c", FAILING, str(tmp_path), str(times)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=200)
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1
    assert "the server ends, as worker 1 cannot begin: the sky: the moon is too near" in last
    assert len([*tmp_path.glob("1.*")]) == starts
    assert ("exit code 7" in done.stderr) == (times > 0)
