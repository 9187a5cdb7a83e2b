"""What all definitions share: a value with a place in a file, a JSON form and one way to say it is wrong."""

from __future__ import annotations

import inspect
import json
import os
from bisect import bisect_right
from pathlib import Path
from types import CodeType
from typing import Any, Self
from weakref import ref

import pydantic
from pydantic import ConfigDict, ModelWrapValidatorHandler, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from feature_store.errors import DefinitionError

STRICT = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
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
    def _explain(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
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
        return TypeAdapter(cls).validate_python(data)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._canonical() == other._canonical()

    def __hash__(self) -> int:
        return hash(self._canonical())

    def _canonical(self) -> str:
        return json.dumps(self.to_json(), sort_keys=True)


def _calling_place() -> tuple[str, int]:
    """File and line of the nearest frame outside the engine and pydantic."""
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
        message = problem["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
        problems.append(f"{field}: {message}" if field else message)
    kind = cls.__name__
    return DefinitionError(
        f"{kind} {name!r} cannot be built: " + "; ".join(problems) if name else f"{kind}: " + "; ".join(problems),
        where=shown_place(*_calling_place()),
        remedy=f"correct the arguments of {kind}",
        code="wrong-argument",
    )
