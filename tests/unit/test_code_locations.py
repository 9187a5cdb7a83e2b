"""Code servers for the modules of a Dagster workspace."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from feature_store.errors import StackError
from feature_store.local.code_locations import LONGEST_FOLDER, CodeLocations, code_locations, scratch_folder


def located(folder: Path, text: str) -> CodeLocations:
    workspace = folder / "workspace.yaml"
    workspace.write_text(text)
    home = folder / "state"
    (home / "dagster").mkdir(parents=True, exist_ok=True)
    return code_locations(workspace, home, {"A": "b"}, ("postgres",), 9.0)


def test_each_module_has_a_server_that_dagster_is_pointed_at(tmp_path: Path) -> None:
    found = located(
        tmp_path,
        """
load_from:
  - python_module: {module_name: definitions, working_directory: ., location_name: shop, attribute: defs}
  - python_module: other.definitions
""",
    )
    shop, other = found.services
    assert (shop.name, other.name) == ("dagster-code-shop", "dagster-code-other.definitions")
    assert shop.command[-6:] == ("-m", "definitions", "-d", ".", "-a", "defs")
    assert other.command[-3:] == ("--inject-env-vars-from-instance", "-m", "other.definitions")
    assert (shop.folder, shop.needs, shop.environment, shop.start_seconds) == (tmp_path, ("postgres",), {"A": "b"}, 9.0)
    servers = [entry["grpc_server"] for entry in yaml.safe_load(found.workspace.read_text())["load_from"]]
    assert [server["location_name"] for server in servers] == ["shop", "other.definitions"]
    for service, server in zip(found.services, servers, strict=True):
        assert server["socket"] in service.command
        with pytest.raises(OSError, match="No such file"):
            service.ready()


def test_the_only_module_needs_no_name(tmp_path: Path) -> None:
    (only,) = located(tmp_path, "load_from: [{python_module: definitions}]").services
    assert only.name == "dagster-code"


def test_a_workspace_with_anything_else_is_dagsters_own_affair(tmp_path: Path) -> None:
    for other in ("grpc_server: {port: 4000, host: code.example}", "python_module: {working_directory: .}"):
        found = located(tmp_path, f"load_from: [{{python_module: one}}, {{{other}}}]")
        assert found.services == ()
        assert found.workspace == tmp_path / "workspace.yaml"


@pytest.mark.parametrize("text", ["", "load_from: 3", "load: []", "load_from: [", "3"])
def test_what_is_no_workspace_is_said(tmp_path: Path, text: str) -> None:
    with pytest.raises(StackError, match=r"workspace.yaml: is no Dagster workspace: .* -> see workspace.yaml of"):
        located(tmp_path, text)


def test_no_workspace_is_said(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="there is no Dagster workspace -> set FS_WORKSPACE"):
        code_locations(tmp_path / "none.yaml", tmp_path, {}, (), 9.0)


def test_sockets_of_a_long_state_folder_lie_elsewhere(tmp_path: Path) -> None:
    assert scratch_folder(tmp_path) == tmp_path / "tmp"
    long = tmp_path / ("x" * LONGEST_FOLDER)
    long.mkdir()
    folder = scratch_folder(long)
    assert len(str(folder)) < LONGEST_FOLDER
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder == scratch_folder(long)
    folder.rmdir()
