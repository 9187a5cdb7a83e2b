"""Loading definitions: what cannot be imported is named with its file and line."""

from __future__ import annotations

import importlib
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


DECLARATIONS = """\
from feature_store import Entity
def made(name):
    return Entity(
        name, join_key="id")
one = Entity("one", join_key="id")
two = [Entity("two",
    join_key="id"),
    Entity("three", join_key="id")]
four = made("four"); five = Entity("five", join_key="id")
six = [Entity(name, join_key="id") for name in ("six",)]
"""


def test_the_place_of_a_definition_is_the_line_it_begins_on(package: Path) -> None:
    (package / "__init__.py").write_text(DECLARATIONS)
    module = importlib.import_module("broken_defs")
    found = [module.one, *module.two, module.four, module.five, *module.six]
    assert [int(entity.place.rpartition(":")[2]) for entity in found] == [5, 6, 8, 3, 9, 10]
    assert {entity.file for entity in found} == {str(package / "__init__.py")}


def test_code_that_was_collected_does_not_lend_its_lines_to_code_at_its_address(package: Path) -> None:
    for before in range(50):
        scope: dict[str, Any] = {}
        text = "\n" * before + 'from feature_store import Entity\none = Entity("one", join_key="id")\n'
        exec(compile(text, str(package / "made.py"), "exec"), scope)
        assert scope["one"].place == f"{package / 'made.py'}:{before + 2}"


def test_a_file_of_many_definitions_is_loaded_in_linear_time() -> None:
    """Eight times as many take eight times as long, not sixty-four times."""

    def seconds(count: int) -> float:
        text = "\n".join(f"e{number} = Entity('e{number}', join_key='id')" for number in range(count))
        code = compile("from feature_store import Entity\n" + text, "many.py", "exec")
        started = time.process_time()
        exec(code, {})
        return time.process_time() - started

    assert min(seconds(8_000) for _ in range(2)) < 20 * min(seconds(1_000) for _ in range(5))
