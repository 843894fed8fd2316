"""TOML read into typed dataclasses; every fault is told with its line and its mend, all of them at once.

``tomllib`` does not say where a value stood, and its errors end at the first. So a file is read statement by
statement: as a TOML statement has no valid prefix, lines are added until ``tomllib`` accepts what there is.
"""

from __future__ import annotations

import dataclasses
import errno
import itertools
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeAlias, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from smtpx.errors import ConfigurationError

__all__ = ["Document", "Where"]

T = TypeVar("T")

Where: TypeAlias = tuple[str | int, ...]
"""The way to a value: ("listener", 0, "port") is the port of the first [[listener]]."""


class Document:
    """A TOML file, the line of every key in it, and the faults found so far.

    Raises:
        ConfigurationError: it cannot be read, or is not TOML.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._faults: list[tuple[int, str]] = []
        try:
            octets = path.read_bytes()
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot be read: {_unreadable(error)}") from error
        try:
            # Some editors of Windows begin a file with a BOM, which nobody sees.
            self._text = text = octets.decode("utf-8-sig").replace("\r\n", "\n")
            self.table = tomllib.loads(text)
        except UnicodeDecodeError as error:
            line = octets.count(b"\n", 0, error.start) + 1
            raise ConfigurationError(
                f"{path}: line {line}: this is not UTF-8; save the file in that encoding"
            ) from None
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(f"{path}: {_syntax_error(str(error), text)}") from None

    @cached_property
    def _lines(self) -> dict[Where, int]:
        return _lines(self._text)  # only a file with a fault costs the second reading

    def line(self, where: Where) -> int:
        """Return the line, from 1, of a key or of the nearest thing around it that has one."""
        while where and where not in self._lines:
            where = where[:-1]
        return self._lines.get(where, 1)

    def fault(self, where: Where, text: str) -> None:
        """Note a fault; `finish` raises them all."""
        self._faults.append((self.line(where), text))

    def finish(self) -> None:
        """Raise the faults noted, one a line of the message, in the order of the file."""
        if self._faults:
            told = (f"{self.path}: line {line}: {text}" for line, text in sorted(self._faults))
            raise ConfigurationError("\n".join(dict.fromkeys(told)))

    def build(self, kind: type[T]) -> T | None:
        """Return the whole file as ``kind``, a dataclass; None when there is a fault (noted)."""
        return self._build(kind, self.table, ())

    def convert(self, kind: type[T], value: object, where: Where) -> T | None:
        """Return one value as ``kind``, a dataclass; None when there is a fault (noted)."""
        try:
            return cast("T", self._convert(kind, value, where))
        except _FaultyError:
            return None

    def _build(self, kind: type[T], table: Mapping[str, object], where: Where) -> T | None:
        """Fields are known in TOML by their name, or by ``metadata["key"]``."""
        hints = get_type_hints(kind)
        fields = {
            field.metadata.get("key", field.name): field
            for field in dataclasses.fields(cast("Any", kind))
            if field.init
        }
        values: dict[str, object] = {}
        sound = True
        for key in table.keys() - fields.keys():
            self.fault((*where, key), f"unknown key '{key}', {_hint(key, fields)}")
            sound = False
        for key, field in fields.items():
            if key in table:
                try:
                    values[field.name] = self._convert(hints[field.name], table[key], (*where, key))
                except _FaultyError:
                    sound = False
            elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                example = field.metadata.get("example", "...")
                self.fault(where, f"'{key}' is missing: write {key} = {example}")
                sound = False
        if not sound:
            return None
        try:
            return kind(**values)
        except (TypeError, ValueError) as error:  # a dataclass that checks itself, and names the field
            named = (key for key in table if re.search(rf"\b{re.escape(key)}\b", str(error)))
            self.fault((*where, *itertools.islice(named, 1)), str(error))
            return None

    def _convert(self, hint: Any, value: object, where: Where) -> object:
        origin, arguments = get_origin(hint), get_args(hint)
        if origin in (Union, UnionType):  # TOML has no null: ``X | None`` is X, ``str | PathLike`` a path
            kinds = [kind for kind in arguments if kind is not NoneType]
            return self._convert(kinds[0] if len(kinds) == 1 else Path, value, where)
        if origin is Literal:
            if value in arguments:
                return value
            raise self._faulty(
                where, f"must be one of {', '.join(map(_shown, arguments))}, not {_shown(value)}"
            )
        if origin is tuple:
            if not isinstance(value, list):
                raise self._faulty(where, f"must be a list, in [brackets], not {_kind(value)}")
            return tuple(self._all(arguments[0], enumerate(value), where).values())
        if origin is Mapping:
            if not isinstance(value, dict):
                raise self._faulty(where, f"must be a table, not {_kind(value)}")
            return self._all(arguments[1], value.items(), where)
        if dataclasses.is_dataclass(hint):
            if not isinstance(value, dict):
                raise self._faulty(where, f"must be a table, not {_kind(value)}")
            built = self._build(cast("type[object]", hint), value, where)
            if built is None:
                raise _FaultyError
            return built
        return self._scalar(hint, value, where)

    def _all(self, hint: Any, items: Any, where: Where) -> dict[str | int, object]:
        """Convert each, so that the faults of all are noted."""
        values: dict[str | int, object] = {}
        sound = True
        for key, item in items:
            try:
                values[key] = self._convert(hint, item, (*where, key))
            except _FaultyError:
                sound = False
        if not sound:
            raise _FaultyError
        return values

    def _scalar(self, hint: Any, value: object, where: Where) -> object:
        if hint is float and type(value) is int:
            return float(value)
        if hint is Path and isinstance(value, str) and value:
            return self.path.parent / value  # relative to the file that names it, wherever we are started
        if type(value) is hint:  # not isinstance: True is no int here
            return value
        raise self._faulty(where, f"must be {_KINDS[hint]}, not {_shown(value)}")

    def _faulty(self, where: Where, text: str) -> _FaultyError:
        name = next((part for part in reversed(where) if isinstance(part, str)), "")
        self.fault(where, f"'{name}' {text}")
        return _FaultyError()


class _FaultyError(Exception):
    """A value could not be converted; why is noted already."""


_KINDS: Mapping[type, str] = {
    str: "a string, in quotes",
    int: "a whole number, without quotes",
    float: "a number, without quotes",
    bool: "true or false, without quotes",
    Path: "a path, in quotes",
    list: "a list",
    dict: "a table",
}


def _kind(value: object) -> str:
    return _KINDS.get(type(value), type(value).__name__)


def _shown(value: object) -> str:
    """Show a value that is short, the kind of one that is not."""
    if isinstance(value, str):
        return repr(value) if len(value) <= 40 else "a string of " + str(len(value)) + " characters"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else _kind(value)


def _hint(key: str, known: Mapping[str, object]) -> str:
    close = get_close_matches(key, known, 1)
    return f"did you mean '{close[0]}'?" if close else f"known here: {', '.join(sorted(known))}"


def _unreadable(error: OSError) -> str:
    mends = {
        errno.ENOENT: "make it, or name another",
        errno.EACCES: "let this user read it (chown, chmod), or run as the user whose it is",
        errno.EISDIR: "name a file in it",
    }
    told = error.strerror or str(error)
    return f"{told}; {mends[error.errno]}" if error.errno in mends else told


def _syntax_error(message: str, text: str) -> str:
    """Put ``tomllib``'s "(at line 3, column 7)" before its words."""
    found = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", message)
    if found is None:
        return message
    line = found[1] or str(len(text.splitlines()))
    column = f", column {found[2]}" if found[2] else ""
    return f"line {line}{column}: {message[: found.start()]}"


def _lines(text: str) -> dict[Where, int]:
    """Map every key of a document that ``tomllib`` accepts to the line on which its statement begins."""
    lines: dict[Where, int] = {}
    arrays: dict[Where, int] = {}  # an array of tables and the index of its last one
    table: Where = ()
    statement, begun = "", 1
    for number, line in enumerate(text.split("\n"), 1):
        if not statement:
            begun = number
        statement += line + "\n"
        try:
            parsed = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue  # a string or an array that goes on in the next line
        is_header, statement = statement.lstrip().startswith("["), ""
        if not is_header:
            _place(parsed, table, begun, lines)
            continue
        table = ()
        value: object = parsed
        while value:
            if isinstance(value, list):
                arrays[table] = arrays.get(table, -1) + 1
                value = None
                table = (*table, arrays[table])
            else:
                ((name, value),) = cast("dict[str, object]", value).items()
                if table in arrays:
                    table = (*table, arrays[table])
                table = (*table, name)
            lines.setdefault(table, begun)
    return lines


def _place(value: object, where: Where, line: int, lines: dict[Where, int]) -> None:
    if where:
        lines.setdefault(where, line)
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, item in items:
        _place(item, (*where, key), line, lines)
