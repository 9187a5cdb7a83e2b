"""A group as the Python code that declares it: the way back from data into a module of definitions."""

from __future__ import annotations

import dataclasses
import datetime
import keyword
import re
from collections.abc import Mapping
from typing import Any

from feature_store.dsl.aggregation import Aggregation
from feature_store.dsl.definition import Definition
from feature_store.dsl.group import FeatureGroup
from feature_store.dsl.window import Window
from feature_store.dtypes import DType
from feature_store.duration import format_duration

_WIDTH = 120
_POSITIONAL = ("name", "successor", "agg")
"""Arguments that are written without their names."""
_TAKEN = ("agg", "session", "datetime")
"""Names in lower case that a module of definitions has already."""

Declared = Mapping[Definition, tuple[str, str]]
"""For each entity and source that is declared already its module and variable."""
Code = str | tuple[str, list["Code"], str]
"""An expression: a text, or what opens it, its parts, and what closes it."""


def python_code(group: FeatureGroup, declared: Declared) -> str:
    """A module that declares a group, and of its entity and sources what is not declared yet.

    Whoever loads it has an equal definition, with the same JSON form.
    """
    module = _Module(declared)
    for part in (group.entity, group.source, *group.sources):
        if part is not None:
            module.declare(part, part.name)
    module.declare(group, group.name)
    return module.text()


class _Module:
    """The text of a module, declaration by declaration."""

    def __init__(self, declared: Declared) -> None:
        self._declared = declared
        self._imports: set[tuple[str, str]] = set()
        self._public: set[str] = set()
        self._variables: dict[str, Definition] = {}
        self._declarations: list[str] = []

    def declare(self, definition: Definition, name: str) -> None:
        """Declares a definition, unless it is declared already; those declared before it are written by their names."""
        if definition in self._variables.values():
            return
        module, variable = self._declared.get(definition, ("", ""))
        if variable and variable not in self._variables:
            self._imports.add((module, variable))
        else:
            variable = self._free(name)
            written = _laid_out(self._call(definition), len(variable) + 3, "")
            self._declarations.append(f"{variable} = {written}\n")
        self._variables[variable] = definition

    def text(self) -> str:
        """The module."""
        first = "import datetime\n\n" if "datetime" in self._public else ""
        imports = {*self._imports, *(("feature_store", name) for name in self._public - {"datetime"})}
        lines = []
        for module in sorted({module for module, _ in imports}):
            names = sorted(
                (name for of, name in imports if of == module), key=lambda n: (not n.isupper(), n.islower(), n)
            )
            flat = f"from {module} import {', '.join(names)}"
            wrapped = f"from {module} import (\n{''.join(f'    {name},{chr(10)}' for name in names)})"
            lines.append(flat if len(flat) <= _WIDTH else wrapped)
        return first + "\n".join([*lines, "", *self._declarations])

    def _free(self, name: str) -> str:
        """A variable like a name, that hides nothing."""
        variable = re.sub(r"\W", "_", name) or "group"
        variable = variable if variable.isidentifier() else f"_{variable}"
        while keyword.iskeyword(variable) or variable in {*self._variables, *_TAKEN}:
            variable += "_"
        return variable

    def _call(self, definition: Definition) -> Code:
        """The call that makes a definition, with the arguments that it was given."""
        given, written, kind = definition.to_json(), [], type(definition).__name__
        self._public.add(kind)
        for field in dataclasses.fields(definition):
            if field.name in given:
                code = self._value(getattr(definition, field.name))
                written.append(code if field.name in _POSITIONAL else _named(f"{field.name}=", code))
        return f"{kind}(", written, ")"

    def _value(self, value: Any) -> Code:
        match value:
            case Aggregation():
                return self._aggregation(value)
            case Definition():
                return next((name for name, known in self._variables.items() if known == value), None) or self._call(
                    value
                )
            case Window(session=True):
                self._public.add("session")
                return f'session("{format_duration(value.size or 0)}")'
            case Window() | str():
                return _text(str(value))
            case DType():
                self._public.update(re.findall(r"[A-Z]+", str(value)))
                return str(value)
            case dict():
                return "{", [_named(f"{_text(name)}: ", self._value(item)) for name, item in value.items()], "}"
            case list() | tuple():
                return "[", [self._value(item) for item in value], "]"
            case datetime.datetime():
                self._public.add("datetime")
        return repr(value)

    def _aggregation(self, value: Aggregation) -> Code:
        self._public.add("agg")
        count = "n" if value.function in ("first_n", "last_n") else "k"
        given = {"": value.column, f"{count}=": value.k, "by=": value.by, "q=": value.q}
        return (
            f"agg.{value.function}(",
            [_named(name, self._value(v)) for name, v in given.items() if v is not None],
            ")",
        )


def _named(name: str, code: Code) -> Code:
    return name + code if isinstance(code, str) else (name + code[0], *code[1:])


def _text(text: str) -> str:
    """A literal: in double quotes; of several lines in three of them, where that is the same text."""
    lines = text.split("\n")
    is_plain = all(line.isprintable() for line in lines) and "\\" not in text and '"' not in text
    if is_plain and len(lines) > 1:
        return f'"""{text}"""'
    if text.isprintable():
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return repr(text)


def _laid_out(code: Code, column: int, indent: str) -> str:
    """The text of an expression: in one line if that fits, else with a line for each part."""
    if isinstance(code, str):
        return code
    opening, parts, closing = code
    flat = _flat(code)
    if "\n" not in flat and len(indent) + column + len(flat) < _WIDTH:
        return flat
    inner = indent + "    "
    lines = [f"{inner}{_laid_out(part, 0, inner)},\n" for part in parts]
    return f"{opening}\n{''.join(lines)}{indent}{closing}"


def _flat(code: Code) -> str:
    if isinstance(code, str):
        return code
    return f"{code[0]}{', '.join(map(_flat, code[1]))}{code[2]}"
