"""Dagster's code servers: one for each code location of the workspace, for the web server and the daemon together.

Without them each of the two would start its own, and the daemon another one every minute.
"""

from __future__ import annotations

import socket
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from feature_store.errors import StackError
from feature_store.local.service import Service

CODE_SERVER = "dagster-code"
LONGEST_FOLDER = 85
"""The system limits a socket's path to about a hundred characters."""


@dataclass(frozen=True)
class CodeLocations:
    """Code servers, and the workspace file that names them."""

    services: tuple[Service, ...]
    workspace: Path


def scratch_folder(home: Path) -> Path:
    """A folder for sockets: `<home>/tmp`; with a long path one of the machine's that is this state folder's alone."""
    scratch = home / "tmp"
    if len(str(scratch)) >= LONGEST_FOLDER:
        scratch = Path(tempfile.gettempdir()) / f"fs-{sha256(str(home).encode()).hexdigest()[:12]}"
    scratch.mkdir(mode=0o700, exist_ok=True)
    return scratch


def code_locations(
    workspace: Path, home: Path, environment: Mapping[str, str], needs: tuple[str, ...], start_seconds: float
) -> CodeLocations:
    """Code servers for the modules of a workspace file; a file with anything else in it is given to Dagster as it is.

    Args:
        workspace: the file.
        home: the state folder.
        environment: of Dagster's processes.
        needs: names of the services to wait for.
        start_seconds: how long importing the definitions may take.

    Raises:
        StackError: if there is no such file, or it is no workspace.
    """
    entries = _read(workspace)
    modules = [_module(entry) for entry in entries]
    if any(module is None for module in modules):
        return CodeLocations((), workspace)
    folder = scratch_folder(home)
    services, servers = [], []
    for number, module in enumerate(module for module in modules if module is not None):
        path = folder / f"code-{number}.sock"
        path.unlink(missing_ok=True)
        location = str(module.get("location_name") or module["module_name"])
        options = {"-m": "module_name", "-d": "working_directory", "-a": "attribute"}
        given = [part for flag, key in options.items() if module.get(key) for part in (flag, str(module[key]))]
        python = str(module.get("executable_path") or sys.executable)
        server = ("-m", "dagster", "code-server", "start", "--socket", str(path), "--location-name", location)
        services.append(
            Service(
                name=CODE_SERVER if len(modules) == 1 else f"{CODE_SERVER}-{location}",
                command=(python, *server, "--inject-env-vars-from-instance", *given),
                folder=workspace.parent,
                port=None,
                ready=partial(_listens, path),
                environment=environment,
                needs=needs,
                start_seconds=start_seconds,
            )
        )
        servers.append({"grpc_server": {"socket": str(path), "location_name": location}})
    made = home / "dagster" / "workspace.yaml"
    made.write_text(yaml.safe_dump({"load_from": servers}), encoding="utf-8")
    return CodeLocations(tuple(services), made)


def _read(workspace: Path) -> list[Any]:
    if not workspace.is_file():
        raise StackError(
            "there is no Dagster workspace", where=str(workspace), remedy="set FS_WORKSPACE", code="workspace"
        )
    try:
        entries = yaml.safe_load(workspace.read_text(encoding="utf-8"))["load_from"]
        if not isinstance(entries, list):
            raise TypeError("load_from is not a list")
    except (yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise StackError(
            f"is no Dagster workspace: {' '.join(str(error).split())}",
            where=str(workspace),
            remedy="see workspace.yaml of the repository",
            code="workspace",
        ) from error
    return entries


def _module(entry: Any) -> dict[str, Any] | None:
    """What an entry says of the module that it names; None if it names something else."""
    if not isinstance(entry, dict) or list(entry) != ["python_module"]:
        return None
    module = entry["python_module"]
    described = module if isinstance(module, dict) else {"module_name": module}
    return described if "module_name" in described else None


def _listens(path: Path) -> bool:
    """Whether a code server has bound its socket, which it does once its definitions are loaded."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    return True
