"""How Postgres, which refuses to run as root, is started by root without adding a user to the machine."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from feature_store.errors import StackError

_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_CLONE_NEWUSER = 0x10000000
_INNER_ID = 1000
_NOBODY = 65534


class Ids(TypedDict, total=False):
    """Arguments of `subprocess.Popen` that change a child's user."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Account:
    """As whom a child runs. `uid` None: as we do; `enter` runs in the child between fork and exec."""

    uid: int | None = None
    enter: Callable[[], None] | None = None

    def ids(self) -> Ids:
        """The arguments of `subprocess` that make a child run under this account, besides `preexec_fn`."""
        return Ids() if self.uid is None else Ids(user=self.uid, group=self.uid, extra_groups=[])

    def own(self, folder: Path) -> None:
        """Makes everything in a folder belong to this account, as seen from outside."""
        owner = self.uid if self.uid is not None else os.geteuid()
        if not folder.exists() or folder.stat().st_uid == owner:
            return
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, owner, owner)


def unprivileged_account(program: Path, folder: Path) -> Account:
    """An account that is not root, can run `program` and can write in `folder`.

    Nobody special is needed for a plain user. Root becomes an ordinary user inside a user namespace, which leaves all
    files its own; where containers forbid that, the user "nobody" must be able to reach the program and the folder.

    Raises:
        StackError: if there is no such account.
    """
    if os.geteuid() != 0:
        return Account()
    namespace = Account(enter=enter_user_namespace)
    if _can_start(namespace, program, folder):
        return namespace
    nobody = Account(uid=_NOBODY)
    nobody.own(folder)
    if _can_start(nobody, program, folder):
        return nobody
    Account().own(folder)
    raise StackError(
        "Postgres refuses to run as root, there are no user namespaces here, and user nobody cannot use the folder",
        where=str(folder),
        remedy="run as a plain user, or set FS_HOME to a folder that every user can reach, or FS_PG_URL to a server",
        code="root",
    )


def enter_user_namespace() -> None:
    """Turns the calling process, which is about to exec, into an ordinary user of a namespace of its own."""
    if _LIBC is None or _LIBC.unshare(_CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "user namespaces are not available")
    for file, text in (("setgroups", "deny"), ("uid_map", f"{_INNER_ID} 0 1"), ("gid_map", f"{_INNER_ID} 0 1")):
        with open(f"/proc/self/{file}", "w", encoding="ascii") as stream:  # noqa: PTH123 - nothing but a write, in a fork
            stream.write(text)


def _can_start(account: Account, program: Path, folder: Path) -> bool:
    folder.mkdir(parents=True, exist_ok=True)
    trial = ["/bin/sh", "-c", 'cd "$0" && test -w . && exec "$1" --version', str(folder), str(program)]
    try:
        done = subprocess.run(trial, capture_output=True, check=False, preexec_fn=account.enter, **account.ids())
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0
