"""JSON and YAML of bounded size and depth."""

import json
from pathlib import Path
from typing import Any, NoReturn

import yaml

from ..errors import UserError
from .files import read_text

MAX_DEPTH = 16
_MAX_YAML = 64 << 10  # bytes: PyYAML takes a second for a hundred thousand values
_MAX_JSON = 1 << 20


def parse_json(text: str | bytes) -> Any:
    """Parse JSON. NaN and infinities are refused.

    Raises:
        ValueError: not JSON, or nested deeper than `MAX_DEPTH`.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _check_depth(value)
    return value


def read_json(path: Path, kind: str, most: int = _MAX_JSON) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Args:
        kind: what the file should be, for messages.
        most: largest size accepted, in bytes.

    Raises:
        UserError: see `files.read_text`; or the file is not JSON, nested too deeply, or not an object.
    """
    try:
        value = parse_json(read_text(path, most, kind))
    except ValueError as error:
        raise UserError(f"{path}: damaged, not {kind} ({error})") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: damaged, not {kind} (it holds no object)")
    return value


def read_yaml(path: Path, kind: str) -> dict[str, Any]:
    """Read a YAML file that holds a mapping with names as keys.

    Aliases, anchors, merge keys and tags are refused: a few lines of them can stand for gigabytes.

    Raises:
        UserError: see `files.read_text`; or the file is not such YAML, or nested too deeply.
    """
    try:
        value = yaml.load(read_text(path, _MAX_YAML, kind), Loader=_PlainLoader)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not {kind} ({_describe(error)})") from None
    except (ValueError, RecursionError, OverflowError) as error:
        raise UserError(f"{path}: not {kind} ({error})") from None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise UserError(f"{path}: not {kind} (it must be a mapping of names to values)")
    return value


class _PlainLoader(yaml.SafeLoader):
    """Loads mappings, lists and scalars, nothing else."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            self._refuse("aliases and anchors", event)
        if getattr(event, "tag", None) is not None:
            self._refuse("tags", event)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._refuse("deep nesting", event)
        node = super().compose_node(parent, index)
        if node is not None and node.tag == "tag:yaml.org,2002:merge":
            self._refuse("merge keys", event)
        self._depth -= 1
        return node

    @staticmethod
    def _refuse(what: str, event: yaml.Event) -> NoReturn:
        line = f"line {event.start_mark.line + 1}: " if event.start_mark else ""
        raise yaml.YAMLError(f"{line}{what} cannot be used here")


def _describe(error: yaml.YAMLError) -> str:
    """Return what is wrong, and the line, without the excerpt that PyYAML adds."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return str(error).partition("\n")[0]
    mark = error.problem_mark or error.context_mark
    return f"{f'line {mark.line + 1}: ' if mark else ''}{error.problem or error.context or 'not YAML'}"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for each in level
            if isinstance(each, dict | list)
            for child in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return
    raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
