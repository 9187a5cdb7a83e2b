"""uv on a machine whose Python has no pip, from a package index on this machine."""

from __future__ import annotations

import functools
import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from feature_store.local import bootstrap
from feature_store.local.bootstrap import BootstrapError, configured_index, fetch_wheel, fits_this_machine

VERSION = "0.13.8"
SYSTEMS = ("manylinux_2_17", "musllinux_1_1", "macosx_11_0")
MACHINES = ("x86_64", "aarch64", "arm64", "s390x")
TAGS = [f"{system}_{machine}" for system in SYSTEMS for machine in MACHINES]


def make_index(folder: Path) -> str:
    """A package index of one uv, with wheels of many machines. Returns the sha256 of this machine's."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as wheel:
        wheel.writestr(f"uv-{VERSION}.data/scripts/uv", f"#!/bin/sh\necho uv {VERSION}\n")
    names = [f"uv-{VERSION}-py3-none-{tag}.whl" for tag in ("win_amd64", *TAGS)]
    (folder / "uv").mkdir()
    for name in names:
        (folder / "uv" / name).write_bytes(content.getvalue() if fits_this_machine(name) else b"not for us")
    links = [f'<a href="{name}#sha256=whatever">{name}</a>' for name in [f"uv-{VERSION}.tar.gz", *names]]
    (folder / "uv" / "index.html").write_text("<html><body>" + "".join(links))
    return hashlib.sha256(content.getvalue()).hexdigest()


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Quiet."""

    folder = tmp_path / "simple"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    return tmp_path / "uv.txt"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in (*bootstrap.INDEX_VARIABLES, "PIP_CONFIG_FILE", "PIP_CERT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(bootstrap, "pip_configuration_files", lambda environ: [])


def test_uv_is_taken_out_of_the_pinned_wheel(
    tmp_path: Path, index: str, requirements: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = make_index(tmp_path / "simple")
    requirements.write_text(f"uv=={VERSION} \\\n    --hash=sha256:{sha256}\n")
    monkeypatch.setenv("PIP_INDEX_URL", index)
    monkeypatch.setattr(bootstrap, "present", lambda module: False)
    bootstrap.install(requirements, tmp_path / "bootstrap")
    assert bootstrap.runs(tmp_path / "bootstrap" / "bin" / "uv")


def test_another_wheel_than_the_pinned_one_is_refused(
    tmp_path: Path, index: str, requirements: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_index(tmp_path / "simple")
    requirements.write_text(f"uv=={VERSION} \\\n    --hash=sha256:{'0' * 64}\n")
    monkeypatch.setenv("UV_DEFAULT_INDEX", index)
    with pytest.raises(BootstrapError, match="not the pinned one"):
        fetch_wheel(requirements, tmp_path / "uv")
    assert not (tmp_path / "uv").exists()


def test_without_an_index_the_remedy_is_told(tmp_path: Path, requirements: Path) -> None:
    with pytest.raises(BootstrapError, match="-> apt-get install -y python3-venv, or install uv"):
        fetch_wheel(requirements, tmp_path / "uv")


def test_an_index_that_does_not_answer_is_one_line(
    tmp_path: Path, requirements: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requirements.write_text(f"uv=={VERSION}\n")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:1")
    with pytest.raises(BootstrapError, match=r"does not answer \(.*refused.*\) -> check the network") as failure:
        fetch_wheel(requirements, tmp_path / "uv")
    assert "\n" not in str(failure.value)


def test_uv_settings_win_over_those_of_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user, machine = tmp_path / "user.conf", tmp_path / "machine.conf"
    user.write_text("no section\n")
    machine.write_text("[global]\nindex-url = http://of.machine/simple\n")
    monkeypatch.setattr(bootstrap, "pip_configuration_files", lambda environ: [tmp_path / "missing", user, machine])
    assert configured_index({}) == "http://of.machine/simple"
    user.write_text("[global]\nindex-url = http://of.user/simple\n[install]\nindex-url = http://of.install/simple\n")
    assert configured_index({}) == "http://of.install/simple"
    assert configured_index({"PIP_INDEX_URL": "http://pip"}) == "http://pip"
    assert configured_index({"PIP_INDEX_URL": "http://pip", "UV_DEFAULT_INDEX": "http://uv"}) == "http://uv"
