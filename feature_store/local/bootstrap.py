"""Brings uv to a machine that has only a Python: run by the launcher, by path, before any environment exists.

Only the standard library is at hand, and possibly not all of it (Debian splits `ensurepip` off). No index address is
known here: pip knows its own, and without pip the address must come from the user's environment or pip configuration.
"""

from __future__ import annotations

import configparser
import hashlib
import html.parser
import importlib.util
import io
import os
import platform
import re
import shutil
import ssl
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Mapping
from pathlib import Path

INDEX_VARIABLES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")
TIMEOUT_SECONDS = 30


class BootstrapError(Exception):
    """uv cannot be installed; the text is one line: cause -> remedy."""


def install(requirements: Path, folder: Path) -> None:
    """Puts a working uv at `<folder>/bin/uv`, as pinned with its hashes in `requirements`; does nothing if it is there.

    Raises:
        BootstrapError: if no way to fetch it works.
    """
    program = folder / "bin" / "uv"
    if runs(program):
        return
    say("installing uv, which installs everything else")
    shutil.rmtree(folder, ignore_errors=True)
    if present("venv") and present("ensurepip"):
        run([sys.executable, "-m", "venv", str(folder)], "a Python environment for uv could not be made")
        install_with_pip([str(folder / "bin" / "python"), "-m", "pip"], requirements, [])
    elif present("pip"):
        install_with_pip([sys.executable, "-m", "pip"], requirements, ["--target", str(folder)])
    else:
        fetch_wheel(requirements, program)
    if not runs(program):
        raise BootstrapError("the uv just installed does not run on this machine -> install uv, then start again")


def present(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def runs(program: Path) -> bool:
    try:
        return subprocess.run([str(program), "--version"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def install_with_pip(pip: list[str], requirements: Path, options: list[str]) -> None:
    command = [*pip, "install", "--quiet", "--no-input", "--disable-pip-version-check", "--retries", "2"]
    command += ["--require-hashes", "--only-binary", ":all:", *options, "--requirement", str(requirements)]
    run(command, "pip could not fetch uv")


def run(command: list[str], failure: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        words = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        errors = [line for line in words if line.startswith("ERROR")] or words or [f"exit code {done.returncode}"]
        reason = "the package index does not answer" if "Retrying" in done.stderr else errors[-1]
        raise BootstrapError(f"{failure} ({reason}) -> check the network or pip's index settings, or install uv")


# -- without pip ------------------------------------------------------------------------------------------------------


def fetch_wheel(requirements: Path, program: Path) -> None:
    """Takes the uv binary out of the wheel that fits this machine, from the configured index.

    Raises:
        BootstrapError: if no index is configured, it does not answer, or it has no wheel with a pinned hash.
    """
    index = configured_index(os.environ)
    if not index:
        raise BootstrapError(
            "this Python has neither ensurepip nor pip, so uv cannot be installed"
            " -> apt-get install -y python3-venv, or install uv, or name a package index in UV_DEFAULT_INDEX"
        )
    pinned = requirements.read_text(encoding="utf-8")
    address, name = choose_wheel(index, pinned)
    say(f"fetching {name}")
    content = download(address)
    if hashlib.sha256(content).hexdigest() not in pinned:
        raise BootstrapError(f"{name} from the configured index is damaged or not the pinned one -> try again")
    with zipfile.ZipFile(io.BytesIO(content)) as wheel:
        member = next(name for name in wheel.namelist() if name.endswith("/scripts/uv"))
        program.parent.mkdir(parents=True, exist_ok=True)
        half = program.with_suffix(".part")
        half.write_bytes(wheel.read(member))
    half.chmod(0o755)
    half.replace(program)


def choose_wheel(index: str, pinned: str) -> tuple[str, str]:
    """The address and file name of the pinned uv wheel for this machine."""
    version = re.search(r"^uv==([\w.]+)", pinned, re.MULTILINE)
    if version is None:
        raise BootstrapError("requirements/uv.txt pins no uv -> restore the file")
    page_address = f"{index.rstrip('/')}/uv/"
    page = LinkCollector()
    page.feed(download(page_address).decode("utf-8"))
    for link in page.links:
        address = urllib.parse.urljoin(page_address, link)
        name = urllib.parse.unquote(Path(urllib.parse.urlsplit(address).path).name)
        if name.startswith(f"uv-{version[1]}-") and fits_this_machine(name):
            return address, name
    raise BootstrapError(f"the configured index has no uv {version[1]} for this machine -> install uv by hand")


def fits_this_machine(wheel: str) -> bool:
    """Whether a wheel's platform tag names this operating system, C library and processor."""
    if not wheel.endswith(".whl"):
        return False
    machine = platform.machine().lower()
    if sys.platform == "darwin":
        system = "macosx"
    else:
        system = "manylinux" if platform.libc_ver()[0] == "glibc" else "musllinux"
    return system in wheel and f"_{machine}" in wheel


class LinkCollector(html.parser.HTMLParser):
    """The link targets of an index page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.links += [value for name, value in attrs if name == "href" and value]


def download(address: str) -> bytes:
    context = ssl.create_default_context()
    authority = pip_setting("cert", os.environ)
    if authority and Path(authority).is_file():
        context.load_verify_locations(authority)
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT_SECONDS, context=context) as answer:
            body: bytes = answer.read()
            return body
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise BootstrapError(
            f"the configured package index does not answer ({reason}) -> check the network, or install uv"
        ) from error


# -- what the user has configured -------------------------------------------------------------------------------------


def configured_index(environ: Mapping[str, str]) -> str:
    """The package index named by the environment or by pip's configuration files; empty if none is."""
    named = (environ.get(variable, "") for variable in INDEX_VARIABLES)
    return next(filter(None, named), "") or pip_setting("index-url", environ)


def pip_setting(name: str, environ: Mapping[str, str]) -> str:
    """One of pip's settings, by pip's precedence: variable, PIP_CONFIG_FILE, environment's, user's, machine's."""
    variable = environ.get("PIP_" + name.upper().replace("-", "_"), "")
    if variable:
        return variable
    for path in pip_configuration_files(environ):
        configuration = configparser.RawConfigParser()
        try:
            configuration.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue  # pip will say so itself; it is no reason not to start
        for section in ("install", "global"):
            value = configuration.get(section, name, fallback="").strip()
            if value:
                return value
    return ""


def pip_configuration_files(environ: Mapping[str, str]) -> list[Path]:
    home = Path(environ.get("HOME") or "/nonexistent")
    chosen = [Path(environ["PIP_CONFIG_FILE"])] if environ.get("PIP_CONFIG_FILE") else []
    return [
        *chosen,
        Path(sys.prefix) / "pip.conf",
        Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf",
        home / "Library" / "Application Support" / "pip" / "pip.conf",
        home / ".pip" / "pip.conf",
        Path("/etc/xdg/pip/pip.conf"),
        Path("/etc/pip.conf"),
    ]


def say(text: str) -> None:
    sys.stderr.write(f"fs: {text}\n")


def main(arguments: list[str]) -> int:
    """`install REQUIREMENTS FOLDER` installs uv; `index` prints the configured package index, if there is one."""
    if arguments == ["index"]:
        sys.stdout.write(configured_index(os.environ) + "\n")
        return 0
    _, requirements, folder = arguments
    try:
        install(Path(requirements), Path(folder))
    except BootstrapError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
