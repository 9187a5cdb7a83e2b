"""Loading definitions: what cannot be imported is named with its file and line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from feature_store.dsl.collect import load_project
from feature_store.errors import DefinitionError


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
    with pytest.raises(DefinitionError, match=message):
        load_project("broken_defs")


def test_a_package_that_is_not_there_is_named() -> None:
    with pytest.raises(DefinitionError, match="no_such_defs cannot be imported: ModuleNotFoundError"):
        load_project("no_such_defs")
