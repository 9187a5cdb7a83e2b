"""The registry's database: opening it, waiting for one's turn to write, and saying in one line what went wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, create_engine, func, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ProgrammingError

from feature_store.errors import ConflictError, StackError

_WRITERS = 0x66735F7265676973  # names the lock that every writer takes
_UNDEFINED_TABLE, _LOCK_NOT_AVAILABLE = "42P01", "55P03"


def open_engine(url: str, *, connect_seconds: int = 10) -> Engine:
    """An engine that notices a restarted server instead of failing on its old connections."""
    return create_engine(url, pool_pre_ping=True, pool_size=2, connect_args={"connect_timeout": connect_seconds})


def described(engine: Engine) -> str:
    """The database for messages, without its password."""
    return f"registry {engine.url.render_as_string(hide_password=True)}"


def take_turn(connection: Connection, patience: str = "60s") -> None:
    """Waits until no other writer is at work; the turn ends with the transaction."""
    connection.execute(select(func.set_config("lock_timeout", patience, True)))
    connection.execute(select(func.pg_advisory_xact_lock(_WRITERS)))
    connection.execute(text("SET LOCAL lock_timeout = DEFAULT"))


@contextmanager
def service_errors(engine: Engine) -> Iterator[None]:
    """Turns what the driver raises into one line with a remedy.

    Raises:
        ConflictError: if another writer did not finish in time, or wrote the same thing.
        StackError: if the database is down, has no tables yet, or failed in another way.
    """
    try:
        yield
    except DBAPIError as error:
        where, cause = described(engine), str(error.orig).strip().partition("\n")[0]
        code = getattr(error.orig, "pgcode", None)
        if code == _LOCK_NOT_AVAILABLE:
            raise ConflictError(
                "another process is changing the registry and has not finished",
                where=where,
                remedy="try again when it is done",
                code="registry-busy",
            ) from error
        if isinstance(error, IntegrityError):
            raise ConflictError(
                f"the registry refuses it: {cause}", where=where, remedy="plan again", code="registry-conflict"
            ) from error
        if isinstance(error, ProgrammingError) and code == _UNDEFINED_TABLE:
            raise StackError(
                "the registry has no tables yet",
                where=where,
                remedy="run ./fs apply, which makes them",
                code="no-registry",
            ) from error
        if isinstance(error, OperationalError):
            raise StackError(
                f"the database does not answer: {cause}",
                where=where,
                remedy="start it with ./fs up, or correct FS_PG_URL",
                code="registry-down",
            ) from error
        raise StackError(
            f"the database failed, nothing was changed: {cause}",
            where=where,
            remedy="see ./fs logs",
            code="registry-failed",
        ) from error
