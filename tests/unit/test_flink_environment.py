"""The Python environment of Flink: made once, made again after a failure, and a failure is one line of uv's."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from feature_store.errors import StackError
from feature_store.local import flink_environment
from feature_store.local.flink_environment import REQUIREMENTS, install, package_of

UV = """\
#!/bin/sh
echo "$@" >> "$0.calls"
if [ -f "$0.fails" ]; then
    echo "Resolved 41 packages" >&2
    echo "error: Failed to fetch apache-flink" >&2
    echo "  Caused by: connection refused" >&2
    exit 2
fi
if [ "$1" = venv ]; then
    for folder do :; done
    mkdir -p "$folder/bin" && ln -sf {python} "$folder/bin/python"
fi
"""


@pytest.fixture
def uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A uv that notes how it is called, makes environments without packages, and fails when it is told to."""
    program = tmp_path / "programs" / "uv"
    program.parent.mkdir()
    program.write_text(UV.replace("{python}", sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return program


def calls(uv: Path) -> list[str]:
    file = Path(f"{uv}.calls")
    return [line.split()[0] for line in file.read_text().splitlines()] if file.exists() else []


def test_it_is_made_once(uv: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    python = install(tmp_path / "home", notes.append)
    assert python == tmp_path / "home" / "flink-venv" / "bin" / "python"
    assert calls(uv) == ["venv", "pip"]
    assert str(REQUIREMENTS) in Path(f"{uv}.calls").read_text()
    assert len(notes) == 2
    assert install(tmp_path / "home", notes.append) == python
    assert len(notes) == 2, "nothing is done, so nothing is said"
    assert calls(uv) == ["venv", "pip"]


def test_changed_requirements_are_installed_into_it(uv: Path, tmp_path: Path) -> None:
    python = install(tmp_path, lambda _: None)
    (python.parents[1] / REQUIREMENTS.name).write_text("# of an earlier version\n")
    install(tmp_path, lambda _: None)
    assert calls(uv) == ["venv", "pip", "pip"]


def test_a_failure_is_one_line_and_the_next_attempt_starts_anew(uv: Path, tmp_path: Path) -> None:
    Path(f"{uv}.fails").touch()
    with pytest.raises(StackError) as failure:
        install(tmp_path, lambda _: None)
    assert str(failure.value) == (
        "the Python environment of Flink could not be made (Caused by: connection refused)"
        " -> install a Python 3.11 or 3.12, or set FS_FLINK_PYTHON [flink-environment]"
    )
    Path(f"{uv}.fails").unlink()
    install(tmp_path, lambda _: None)
    assert calls(uv) == ["venv", "venv", "pip"]


def test_uv_gets_a_cache_it_can_write_and_the_index_of_pip(
    uv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("UV_CACHE_DIR", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "SSL_CERT_FILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    monkeypatch.setenv("PIP_INDEX_URL", "http://index.example/simple")
    monkeypatch.setenv("PIP_CERT", "/etc/authorities.pem")
    script = 'env | grep -E "^(UV_|SSL_CERT_FILE)" | sort > "$0.environment"\n'
    uv.write_text(uv.read_text().replace("#!/bin/sh\n", f"#!/bin/sh\n{script}"))
    install(tmp_path, lambda _: None)
    assert Path(f"{uv}.environment").read_text().splitlines() == [
        "SSL_CERT_FILE=/etc/authorities.pem",
        f"UV_CACHE_DIR={tmp_path}/cache/uv",
        "UV_DEFAULT_INDEX=http://index.example/simple",
    ]


def test_a_python_that_is_too_new_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flink_environment, "NEWEST_PYTHON", (3, 10))
    assert flink_environment._interpreter() == ">=3.11,<3.13"


def test_a_python_without_flink_is_named() -> None:
    with pytest.raises(StackError, match=r"this Python has no package pyflink -> install apache-flink 2.1 there"):
        package_of(Path(sys.executable))
    with pytest.raises(StackError, match=r"/nonexistent/python: it does not run .* -> correct FS_FLINK_PYTHON"):
        package_of(Path("/nonexistent/python"))
