"""Dataclasses and fields from JSON and YAML, checked against their annotations."""

import dataclasses
import math
import types
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from ..errors import UserError
from ..ranges import check_range
from ..text import one_line, printable
from .documents import read_json

LARGEST = 1e9
"""Magnitude that no number of a description exceeds: beyond, float32 and sums of squares lose their meaning."""
LONGEST_TEXT = 255  # characters, as many as a file's name may have
LONGEST_REMARK = 4000  # characters of a text that is only shown
LONGEST_LIST = 100_000

Record = TypeVar("Record")


def as_type(kind: Any, value: Any) -> Any:
    """Return a value of JSON or YAML as the type of an annotation; lists become tuples.

    Types are `bool`, `int`, `float` (accepts integers), `str`, `tuple[...]`, `list[...]`, `dict` (of anything), unions
    of these, and dataclasses of these.

    Raises:
        ValueError: the value is of another type; a number that is not finite or beyond `LARGEST`; a text that is longer
            than `LONGEST_TEXT` (within a `dict`: `LONGEST_REMARK`) or not printable; a tuple of another length.
    """
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        return _as_union(typing.get_args(kind), value)
    if typing.get_origin(kind) in (tuple, list):
        return _as_sequence(kind, value)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return as_record(kind, value)
    if kind in (int, float):
        return _as_number(kind, value)
    if kind is str:
        return _as_text(value)
    if type(value) is not kind:
        raise ValueError(f"expected {_WORDS[kind]}, found {_shown(value)}")
    return _as_facts(value) if kind is dict else value


def as_record(kind: type[Record], values: Any, **others: Any) -> Record:
    """Make a dataclass from a mapping of its fields, each checked by `as_type`.

    Args:
        others: fields that do not come from the mapping, and must not.

    Raises:
        ValueError: not a mapping; a field is missing, unknown, or not of its type; or what the class itself raises.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"expected fields by name, found {_shown(values)}")
    fields = {each.name: each for each in dataclasses.fields(kind) if each.init and each.name not in others}  # type: ignore[arg-type] # a dataclass
    if unknown := [str(name) for name in values if name not in fields]:
        raise ValueError(f"unknown field: {', '.join(sorted(unknown)[:5])}")
    annotations = typing.get_type_hints(kind)
    made = {}
    for name, field in fields.items():
        if name in values:
            with named(name):
                made[name] = as_type(annotations[name], values[name])
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{name} is missing")
    return kind(**made, **others)


@contextmanager
def named(name: str) -> Iterator[None]:
    """Add a field's name to the ValueErrors raised within."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


class Description:
    """The fields of a description, taken out one by one and checked on the way.

    Args:
        values: what the file holds.
        path: the file, for messages.
        fault: what a file with a wrong field is.
    """

    def __init__(self, values: Mapping[str, Any], path: Path, fault: str = "damaged"):
        self._values, self.path, self._fault = values, path, fault

    def take(self, name: str, kind: Any, default: Any = dataclasses.MISSING) -> Any:
        """Return a field as a type of `as_type`.

        Args:
            default: returned if there is no such field.

        Raises:
            UserError: the field is missing, or not of that type.
        """
        if name not in self._values and default is not dataclasses.MISSING:
            return default
        with self.checked():
            if name not in self._values:
                raise ValueError(f"{name} is missing")
            with named(name):
                return as_type(kind, self._values[name])

    def record(self, name: str, kind: type[Record], **others: Any) -> Record:
        """Return a field as a dataclass, see `as_record`; without such a field, the dataclass of its defaults.

        Raises:
            UserError: the field does not fit the dataclass.
        """
        with self.checked(), named(name):
            return as_record(kind, self._values.get(name, {}), **others)

    def number(self, name: str, low: float, high: float) -> float:
        """Return a number between two bounds, inclusive. Raises UserError: see `take`; out of range."""
        value = self.take(name, float)
        with self.checked():
            check_range(name, value, low, high)
        return value

    @contextmanager
    def checked(self) -> Iterator[None]:
        """Turn ValueErrors about this description into UserErrors."""
        try:
            yield
        except ValueError as error:
            raise UserError(f"{self.path}: {self._fault} ({error})") from None


def read_description(path: Path, kind: str, version: int, *earlier: int) -> Description:
    """Read a folder's JSON description, and check its format version.

    Args:
        path: the description's file.
        kind: what the folder is, for messages: "avatar", "capture".
        version: the format written today.
        earlier: older formats that can be read, too.

    Raises:
        UserError: the file is missing, damaged, or of another format version.
    """
    article = "an" if kind[0] in "aeiou" else "a"
    if not path.exists():
        raise UserError(f"{path.parent}: not {article} {kind} folder (it has no {path.name})")
    described = Description(read_json(path, f"{article} {kind}'s description"), path)
    found = described.take("format_version", int)
    if found not in (version, *earlier):
        raise UserError(f"{path}: {kind} format {found}, but this version reads {version}; make the {kind} again")
    return described


_WORDS: dict[Any, str] = {bool: "true or false", dict: "fields by name"}


def _shown(value: Any) -> str:
    """Return a short form of a value for messages."""
    if isinstance(value, dict | list):
        return f"a {'mapping' if isinstance(value, dict) else 'list'} of {len(value)}"
    return one_line(repr(value) if not isinstance(value, int) or abs(value) < 1e18 else "a huge number", 40)


def _as_union(kinds: tuple[Any, ...], value: Any) -> Any:
    if value is None and type(None) in kinds:
        return None
    errors = []
    for kind in kinds:
        if kind is not type(None):
            try:
                return as_type(kind, value)
            except ValueError as error:
                errors.append(error)
    raise errors[0]


def _as_sequence(kind: Any, value: Any) -> Any:
    items, whole = typing.get_args(kind), typing.get_origin(kind)
    if not isinstance(value, list | tuple):
        raise ValueError(f"expected a list, found {_shown(value)}")
    if len(value) > LONGEST_LIST:
        raise ValueError(f"expected at most {LONGEST_LIST} values, found {len(value)}")
    if whole is tuple and not (len(items) == 2 and items[1] is Ellipsis):
        if len(value) != len(items):
            raise ValueError(f"expected {len(items)} values, found {len(value)}")
        return tuple(as_type(item, each) for item, each in zip(items, value, strict=True))
    return whole(as_type(items[0], each) for each in value)


def _as_number(kind: type, value: Any) -> int | float:
    if type(value) is not int and not (kind is float and type(value) is float):
        raise ValueError(f"expected a {'whole ' if kind is int else ''}number, found {_shown(value)}")
    if not -LARGEST <= value <= LARGEST or math.isnan(value):
        raise ValueError(f"expected a number within {LARGEST:g}, found {_shown(value)}")
    return kind(value)


def _as_facts(value: Any) -> Any:
    """Check what hangs below a value of JSON or YAML, whatever its type."""
    if isinstance(value, dict):
        facts = {}
        for name, each in value.items():
            with named(_as_text(name)):
                facts[name] = _as_facts(each)
        return facts
    if isinstance(value, list):
        return [_as_facts(each) for each in value]
    if isinstance(value, str):
        return _as_text(value, LONGEST_REMARK)
    return value if value is None or isinstance(value, bool) else _as_number(type(value), value)


def _as_text(value: Any, longest: int = LONGEST_TEXT) -> str:
    if type(value) is not str:
        raise ValueError(f"expected a text, found {_shown(value)}")
    if len(value) > longest:
        raise ValueError(f"expected at most {longest} characters, found {len(value)}")
    if printable(value) != value:
        raise ValueError(f"holds characters that cannot be printed: {_shown(value)}")
    return value
