"""`fs plan`, `apply`, `get` and `retire` on a real PostgreSQL, each on definitions in a folder of their own."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from feature_store.errors import ConflictError, NotFoundError
from feature_store.registry import commands
from feature_store.registry.models import RegisteredModels
from feature_store.registry.store import Registry
from tests.integration.registry_setting import OWN_DATABASE, run

if TYPE_CHECKING:
    from feature_store.settings import Settings

DEFINITIONS = """
from feature_store import FLOAT, INT, BatchSource, Deprecated, Entity, Feature, FeatureGroup, FeatureView, agg

user = Entity("user", join_key="user_id")
orders = BatchSource("orders", table="raw.orders", event_timestamp="ts",
    schema={"user_id": "STRING", "ts": "TIMESTAMP"})
user_orders = FeatureGroup("user_orders", entity=user, source=orders, owner="OWNER", availability_delay="DELAY",
    deprecated=DEPRECATED, features=[Feature("user_order_count_30d", agg.count(), window="30d", dtype=INT, default=0)])
ranking = FeatureView("ranking", groups=[user_orders], owner="team:ranking")
"""
NEXT_VERSION = """
next_orders = FeatureGroup.from_json({**user_orders.to_json(), "version": 2, "deprecated": None})
ranking = FeatureView("ranking", version=2, groups=[next_orders], owner="team:ranking")
"""


_packages = count()  # Python imports a package of one name once in a process


class CommandLine:
    """The commands on definitions in a folder of their own, each state of them a package of its own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch
        monkeypatch.syspath_prepend(str(folder))

    def define(self, owner: str = "team:shop", delay: str = "0s", *, deprecated: str = "None", more: str = "") -> None:
        name = f"definitions_of_command_tests_{next(_packages)}"
        text = DEFINITIONS.replace("OWNER", owner).replace("DELAY", delay).replace("DEPRECATED", deprecated)
        (self.folder / f"{name}.py").write_text(text + more)
        self.monkeypatch.setattr(commands, "DEFINITIONS", name)

    def __call__(self, command: str, *arguments: str) -> Result:
        return CliRunner().invoke(getattr(commands, command), arguments, env={"COLUMNS": "100"})


@pytest.fixture
def fs(registry: Registry, stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    run(registry, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    monkeypatch.setenv("FS_PG_URL", stack.pg_url)
    monkeypatch.setenv("FS_REDIS_URL", stack.redis_url)
    monkeypatch.setattr(commands, "DATABASE", OWN_DATABASE)
    return CommandLine(tmp_path, monkeypatch)


def test_plan_apply_and_get_from_an_empty_database(fs: CommandLine) -> None:
    fs.define()
    assert "Nothing is recorded yet" in fs("get").output
    planned = fs("plan")
    assert (planned.exit_code, planned.output.splitlines()[-1]) == (
        0,
        "3 to create, 0 to change safely, 0 breaking, 0 unchanged",
    )
    assert fs("apply", "--by", "ann").output.splitlines()[-1] == "applied plan #1"
    assert fs("apply").output.splitlines() == [
        "0 to create, 0 to change safely, 0 breaking, 3 unchanged",
        "nothing to apply",
    ]
    listed = fs("get").output
    assert all(name in listed for name in ("user_orders@1", "ranking@1"))
    shown = fs("get", "user_orders@1").output
    assert all(part in shown for part in ("by ann", "user_order_count_30d", "INT"))
    assert "feature view" in fs("get", "ranking@1").output
    assert "orders.ts" in fs("lineage", "ranking@1").output
    missing = fs("get", "user_orders@2")
    assert isinstance(missing.exception, NotFoundError)
    assert "recorded are: user_orders@1" in str(missing.exception)


def test_plan_tells_breaking_changes_by_its_exit_code_and_apply_refuses_them(fs: CommandLine) -> None:
    fs.define()
    fs("apply")
    fs.define(owner="team:growth")
    assert fs("plan").exit_code == 0
    fs.define(owner="team:growth", delay="2h")
    planned = fs("plan")
    assert planned.exit_code == 2
    assert "! availability_delay: 0s -> 2h" in planned.output
    refused = fs("apply")
    assert isinstance(refused.exception, ConflictError)
    assert "team:growth" not in fs("get", "user_orders@1").output


def test_a_deprecated_version_is_retired_only_when_nothing_reads_it(fs: CommandLine) -> None:
    fs.define()
    fs("apply")
    fs.define(deprecated='Deprecated("user_orders@2", removal="2020-01-31")', more=NEXT_VERSION)
    planned = fs("plan")
    assert planned.exit_code == 0
    assert "deprecated: none -> successor user_orders@2, removal 2020-01-31" in planned.output
    fs("apply")
    assert "DEPRECATED until 2020-01-31, successor user_orders@2" in fs("get", "user_orders@1").output
    refused = fs("retire", "user_orders@1")
    assert isinstance(refused.exception, ConflictError)
    assert "it is still defined" in str(refused.exception)
    assert "ranking@1 reads it" in str(refused.exception)
    assert fs("retire", "--unused-for", "a month", "user_orders@1").exit_code == 2
    unready = fs("retire", "--view", "ranking@1")
    assert "it is not deprecated" in str(unready.exception)


def test_what_nothing_reads_is_retired(fs: CommandLine) -> None:
    fs.define(more="del ranking")
    fs("apply")
    fs.define(deprecated='Deprecated("user_orders@2", removal="2020-01-31")', more=NEXT_VERSION + "del ranking")
    fs("apply")
    fs.define(more=NEXT_VERSION + "del ranking, user_orders")
    retired = fs("retire", "user_orders@1", "--by", "ann")
    assert retired.output == "retired user_orders@1, recorded as plan #3; its rows stay where they are\n"
    assert "RETIRED, successor user_orders@2" in fs("get", "user_orders@1").output
    assert fs("plan").exit_code == 0
    fs.define(more="del ranking")
    assert fs("plan").exit_code == 2


def test_models_are_listed_shown_and_retired(fs: CommandLine, registry: Registry) -> None:
    fs.define()
    fs("apply")
    models = RegisteredModels(registry)
    for name in ("ranking", "scorer"):
        models.register(name, 1, "ranking@1", by="ann")
    assert all(name in fs("get").output for name in ("ranking@1", "scorer@1"))
    scorer = fs("get", "scorer@1").output
    assert all(part in scorer for part in ("by ann", "user_orders@1/user_order_count_30d"))
    both = fs("get", "ranking@1").output
    assert all(part in both for part in ("feature view", "user_orders@1/user_order_count_30d"))
    assert "scorer@1" in fs("lineage", "scorer@1").output
    assert (
        fs("retire", "scorer@1", "--model", "--by", "ann").output
        == "retired the model scorer@1, which read ranking@1\n"
    )
    assert "RETIRED on" in fs("get", "scorer@1").output
    assert isinstance(fs("retire", "scorer@2", "--model").exception, NotFoundError)
