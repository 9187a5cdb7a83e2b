"""What all definitions share: a value with a place in a file, a JSON form and one way to say it is wrong."""

from __future__ import annotations

import inspect
import json
import os
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import CodeType
from typing import Any, Self
from weakref import ref

import pydantic
from pydantic import (
    ConfigDict,
    ModelWrapValidatorHandler,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.dataclasses import dataclass

from feature_store.errors import DefinitionError, DefinitionErrors

STRICT = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
_is_read = ContextVar("_is_read", default=False)
"""Whether definitions are made from JSON just now: then no line of a program declares them."""
_EVERY_MISTAKE = "every mistake"
"""Context of a validation that goes on after a mistake in a part."""
_NOT_USERS = (f"{Path(__file__).parents[1]}{os.sep}", f"{Path(pydantic.__file__).parent}{os.sep}", "<")


@dataclass(frozen=True, eq=False, config=STRICT)
class Definition:
    """Base of everything a user declares. Equal when the JSON forms are equal, wherever it was written."""

    def __post_init__(self) -> None:
        file, line = _calling_place()
        object.__setattr__(self, "_file", file)
        object.__setattr__(self, "_line", line)
        self._check()

    def _check(self) -> None:
        """What must hold between arguments; raises ValueError."""

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        if info.context == _EVERY_MISTAKE:
            return handler(data)
        try:
            return handler(data)
        except ValidationError as error:
            raise _definition_error(cls, data, error) from None

    @property
    def file(self) -> str:
        """The file of the declaration, or "" when it was read from JSON."""
        return str(getattr(self, "_file", ""))

    @property
    def place(self) -> str:
        """file:line of the declaration, for messages; "" when it was read from JSON."""
        return shown_place(self.file, getattr(self, "_line", 0))

    def to_json(self) -> dict[str, Any]:
        """The definition as plain JSON values; `from_json` reads it back as an equal definition."""
        dumped: dict[str, Any] = TypeAdapter(type(self)).dump_python(self, mode="json", exclude_defaults=True)
        return dumped

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The definition written by `to_json`.

        Raises:
            DefinitionError: if a field is unknown, missing or of the wrong type.
        """
        with _read_from_json():
            return TypeAdapter(cls).validate_python(data)

    @classmethod
    def parse_json(cls, data: Any) -> Self:
        """The same of JSON that somebody else wrote: with every mistake in it, and the place of each.

        Raises:
            DefinitionErrors: if fields are unknown, missing or of the wrong type; `where` of each is a JSON pointer.
        """
        try:
            with _read_from_json():
                return TypeAdapter(cls).validate_python(data, context=_EVERY_MISTAKE)
        except ValidationError as error:
            raise DefinitionErrors(
                [_mistake(problem["loc"], problem["msg"], data) for problem in error.errors()]
            ) from None

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._canonical() == other._canonical()

    def __hash__(self) -> int:
        return hash(self._canonical())

    def _canonical(self) -> str:
        return json.dumps(self.to_json(), sort_keys=True)


@contextmanager
def _read_from_json() -> Iterator[None]:
    before = _is_read.set(True)
    try:
        yield
    finally:
        _is_read.reset(before)


def _calling_place() -> tuple[str, int]:
    """File and line of the nearest frame outside the engine and pydantic; none of what is read from JSON."""
    if _is_read.get():
        return "", 0
    frame = inspect.currentframe()
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_NOT_USERS):
            return name, _line(frame.f_code, frame.f_lasti)
        frame = frame.f_back
    return "", 0


_line_tables: dict[int, tuple[ref[CodeType], list[int], list[int]]] = {}
"""By the id of a living code object: where each of its lines begins in the bytecode, and their numbers."""


def _line(code: CodeType, instruction: int) -> int:
    """The line of an instruction.

    `frame.f_lineno` decodes the table of lines from the beginning of the code each time: thousands of definitions in
    one file would take the square of their number.
    """
    address = id(code)
    known = _line_tables.get(address)
    if known is None:
        lines = [(start, line) for start, _, line in code.co_lines() if line is not None]
        alive = ref(code, lambda _: _line_tables.pop(address, None))
        known = _line_tables[address] = alive, [start for start, _ in lines], [line for _, line in lines]
    _, starts, numbers = known
    return numbers[bisect_right(starts, instruction) - 1]


def shown_place(filename: str, line: int) -> str:
    """file:line for messages, relative to the current folder where it can be; "" without a file."""
    if not filename:
        return ""
    path = Path(filename)
    return f"{path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}:{line}"


def _definition_error(cls: type, data: Any, error: ValidationError) -> DefinitionError:
    """One message for a failed construction: the fields that are wrong and, where pydantic knows, what they take."""
    given = getattr(data, "kwargs", None) or (data if isinstance(data, dict) else {})
    args = getattr(data, "args", None) or ()
    name = given.get("name") or (args[0] if args and isinstance(args[0], str) else "")
    problems = []
    for problem in error.errors():
        field = ".".join(str(part) for part in problem["loc"] if part not in ("str", "function-after"))
        problems.append(f"{field}: {_plain(problem['msg'])}" if field else _plain(problem["msg"]))
    kind = cls.__name__
    return DefinitionError(
        f"{kind} {name!r} cannot be built: " + "; ".join(problems) if name else f"{kind}: " + "; ".join(problems),
        where=shown_place(*_calling_place()),
        remedy=f"correct the arguments of {kind}",
        code="wrong-argument",
    )


def _mistake(location: tuple[int | str, ...], message: str, data: Any) -> DefinitionError:
    """What is wrong at a place in JSON; pydantic's location also names the alternatives that it has tried."""
    pointer, inside = "", data
    for number, part in enumerate(location, 1):
        found = inside[part] if _has(inside, part) else None
        if _has(inside, part) or (number == len(location) and isinstance(inside, dict)):
            pointer, inside = f"{pointer}/{str(part).replace('~', '~0').replace('/', '~1')}", found
    return DefinitionError(
        _plain(message), where=pointer, remedy="see docs/definitions.schema.json", code="wrong-argument"
    )


def _has(container: Any, part: int | str) -> bool:
    if isinstance(part, int):
        return isinstance(container, list) and part < len(container)
    return isinstance(container, dict) and part in container


def _plain(message: str) -> str:
    """What pydantic says, without how it came to it."""
    return message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
