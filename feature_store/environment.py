"""One variable of the environment at a time: its text, checked and turned into a value."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from feature_store.errors import StackError


def server_address(environ: Mapping[str, str], variable: str) -> str:
    """The HTTP address of a server in a variable, without a slash at its end; empty if it is not set.

    Raises:
        StackError: if it is something else.
    """
    address = environ.get(variable, "").strip().rstrip("/")
    parts = urlsplit(address)
    if address and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise StackError(
            "is not the address of a web server",
            where=variable,
            remedy="write http://host:port",
            code="service-address",
        )
    return address


def server_url(environ: Mapping[str, str], variable: str) -> str:
    """The URL of a PostgreSQL server in a variable; empty if it is not set.

    Raises:
        StackError: if it is the URL of something else, or names a database: the feature store has its own.
    """
    url = environ.get(variable, "").strip()
    if not url:
        return ""
    parts = urlsplit(url)
    scheme = parts.scheme.partition("+")[0]
    if scheme not in ("postgresql", "postgres") or not parts.hostname:
        raise StackError(
            "is not the URL of a PostgreSQL server",
            where=variable,
            remedy="write postgresql://user:password@host:port",
            code="service-address",
        )
    if parts.path.strip("/"):
        raise StackError(
            f"names the database {parts.path.strip('/')!r}, but the feature store has databases of its own",
            where=variable,
            remedy="let the URL end after the port",
            code="service-address",
        )
    return parts._replace(scheme="postgresql", path="").geturl()


def names(environ: Mapping[str, str], variable: str) -> tuple[str, ...]:
    """The names in a variable, which `:` separates."""
    return tuple(name for name in environ.get(variable, "").split(":") if name)


def store_urls(environ: Mapping[str, str], variable: str) -> dict[str, str]:
    """The URLs of online stores in a variable, by their names: "hot=redis://a:6379,cold=redis://b:6379,c:6379".

    Raises:
        StackError: if it is written in another way, or two have one name.
    """
    parts = re.split(r",(?=[^,=]*=)", environ.get(variable, "").strip())
    found = dict(re.findall(r"^\s*([a-z][a-z0-9_]*)=(rediss?://\S+)\s*$", "\n".join(parts), re.MULTILINE))
    if parts != [""] and len(found) != len(parts):
        raise StackError(
            "does not give each online store a name of its own and a URL",
            where=variable,
            remedy="write hot=redis://host:port/0,cold=redis://host:port/0, with names in lower case",
            code="online-stores",
        )
    return found


def folder(path: str | Path) -> Path:
    """An absolute path; `~` is the home of the user."""
    return Path(path).expanduser().resolve()


def known_word(
    environ: Mapping[str, str], variable: str, known: Sequence[str], default: str, *, says: str, code: str
) -> str:
    """The word in a variable, or the default if it is not set.

    Args:
        known: the words that it may be.
        says: what it says, for the message: "whether replicas answer".
        code: of the error.

    Raises:
        StackError: if it is another word.
    """
    said = environ.get(variable) or default
    if said and said not in known:
        *first, last = known
        raise StackError(
            f"{said!r} does not say {says}",
            where=variable,
            remedy=f"write {', '.join(first)} or {last}, or leave it out",
            code=code,
        )
    return said


def whole_number(
    environ: Mapping[str, str], variable: str, default: int, *, least: int, most: int, noun: str, code: str
) -> int:
    """The number in a variable, or the default if it is not set.

    Args:
        noun: what the number is, for the message.
        code: of the error.

    Raises:
        StackError: if it is something else than a whole number from `least` to `most`.
    """
    text = environ.get(variable, "") or str(default)
    if not text.isdecimal() or not least <= int(text) <= most:
        raise StackError(
            f"{text!r} is not a {noun}",
            where=variable,
            remedy=f"write a number from {least} to {most}",
            code=code,
        )
    return int(text)


def memory_size(environ: Mapping[str, str], variable: str, default: int, *, least: int, code: str) -> int:
    """The number of bytes in a variable, written as Spark writes it ("512m", "4g"), or the default if it is not set.

    Raises:
        StackError: if it is something else, or too little.
    """
    text = environ.get(variable, "").strip().lower()
    match = re.fullmatch(r"(\d{1,6})([mg])", text)
    bytes_ = int(match[1]) << (20 if match[2] == "m" else 30) if match else default
    if (text and match is None) or bytes_ < least:
        raise StackError(
            f"{text!r} is not a size of memory",
            where=variable,
            remedy=f"write megabytes or gigabytes, such as 512m or 4g; at least {least >> 20}m",
            code=code,
        )
    return bytes_
