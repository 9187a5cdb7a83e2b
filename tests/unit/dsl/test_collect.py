"""Loading definitions: what cannot be imported is named with its file and line."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from feature_store.dsl.collect import load_project
from feature_store.errors import DefinitionError, DefinitionErrors
from feature_store.plan.project import compile_project


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty package of definitions called `broken_defs`."""
    folder = tmp_path / "broken_defs"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.startswith("broken_defs")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1 +", r"views.py:1: broken_defs.views cannot be imported: SyntaxError"),
        ("\nimport nowhere", r"views.py:2: broken_defs.views cannot be imported: ModuleNotFoundError"),
        ("from feature_store import Entity\nEntity()", r"views.py:2: Entity: name: .*; join_key: "),
    ],
)
def test_a_module_that_fails_is_named(package: Path, text: str, message: str) -> None:
    (package / "views.py").write_text(text)
    (error,) = load_project("broken_defs").errors
    assert re.search(message, str(error))


GOOD = """\
from feature_store import INT, STRING, TIMESTAMP, BatchSource, Entity, Feature, FeatureGroup, agg
user = Entity("user", join_key="user_id")
orders = BatchSource("orders", table="raw.orders", event_timestamp="ts", schema={"user_id": STRING, "ts": TIMESTAMP})
"""
GROUP = """\
GROUP = FeatureGroup("NAME", entity=user, source=orders, owner="OWNER", features=[
    Feature("user_order_count_1d", agg.count(), window="1d", dtype=INT)])
"""


def test_a_module_that_fails_hides_no_error_of_others_and_is_reported_once(package: Path) -> None:
    (package / "base.py").write_text(GOOD)
    for name, text in {
        "a_reader": "from broken_defs.b_failing import nothing\n",  # fails only because the next one does
        "b_failing": "import json\njson.loads('{')\n",
        "c_wrong": "from broken_defs.base import *\n" + GROUP.replace("NAME", "c_group").replace("OWNER", "bob"),
        "e_good": "from broken_defs.base import *\n" + GROUP.replace("NAME", "e_group").replace("OWNER", "team:e"),
        "f_pydantic": "from broken_defs.base import *\nFeature('x', agg.count(), window='9 days', dtype=INT)\n",
        "g_reader": "import broken_defs.b_failing, broken_defs.f_pydantic\n",
        "h_reader": "import broken_defs.i_syntax\n",
        "i_syntax": "x = 1 +\n",
    }.items():
        (package / f"{name}.py").write_text(text)
    (package / "sub").mkdir()
    (package / "sub" / "__init__.py").write_text("raise RuntimeError('no')\n")

    project = load_project("broken_defs")
    assert [group.id for group in project.groups] == ["c_group@1", "e_group@1"]
    with pytest.raises(DefinitionErrors) as caught:
        compile_project(project)
    found = [(Path(error.where.split(":")[0]).name, error.where.split(":")[1], error.code)
             for error in caught.value.errors]  # fmt: skip
    assert found == [
        ("b_failing.py", "2", "import"),
        ("f_pydantic.py", "2", "wrong-argument"),
        ("i_syntax.py", "1", "import"),
        ("__init__.py", "1", "import"),
        ("c_wrong.py", "2", "owner"),
    ]
    assert "broken_defs.b_failing cannot be imported: JSONDecodeError" in str(caught.value)
    assert project.group("e_group@1").owner == "team:e"
    with pytest.raises(DefinitionErrors, match=r"broken_defs\.b_failing cannot be imported"):
        project.view("perhaps_there@1")


def test_a_package_that_is_not_there_is_named() -> None:
    with pytest.raises(DefinitionError, match="no_such_defs cannot be imported: ModuleNotFoundError"):
        load_project("no_such_defs")
