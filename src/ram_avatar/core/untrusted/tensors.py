"""Safetensors files: names, types and shapes are known, and can be checked, before a tensor is read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..errors import UserError
from ..text import one_line
from .documents import parse_json
from .files import check_regular, open_regular

_MAX_HEADER = 4 << 20  # bytes
_DTYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL")


class TensorFile:
    """A safetensors file, its header read.

    Args:
        path: the file.
        most: largest size accepted, in bytes.
        kind: what the file should be, for messages: "an avatar's weights".

    Raises:
        UserError: see `files.open_regular`; or its header is damaged.
    """

    def __init__(self, path: Path, most: int, kind: str):
        self.path, self._kind = path, kind
        size = check_regular(path, most, kind)
        try:
            header = _read_header(path, size)
            self.metadata = _texts(header.pop("__metadata__", {}))
            self.shapes = {name: _shape(name, entry) for name, entry in header.items()}
        except (ValueError, KeyError, TypeError) as error:
            raise self.damaged(error) from None

    def damaged(self, error: object) -> UserError:
        """Return the error to raise for a fault of this file."""
        cause = error if isinstance(error, str) else one_line(str(error).partition("\n")[0], 160)
        return UserError(f"{self.path}: damaged, not {self._kind} ({cause})")

    def facts(self) -> dict[str, Any]:
        """Return the JSON object that the metadata holds as "facts". Raises UserError: there is none."""
        try:
            facts = parse_json(self.metadata["facts"])
            if not isinstance(facts, dict):
                raise ValueError("its facts are no object")
        except KeyError:
            raise self.damaged("it states no facts") from None
        except ValueError as error:
            raise self.damaged(error) from None
        return facts

    def check_shapes(self, wanted: Mapping[str, tuple[int, ...]], prefix: str = "") -> None:
        """Check that the tensors whose names start with a prefix are the wanted ones, and no others.

        Raises:
            UserError: one is missing, too many, or has another shape.
        """
        found = {name.removeprefix(prefix): s for name, s in self.shapes.items() if name.startswith(prefix)}
        for name in sorted({*found, *wanted}):
            if name not in found:
                raise self.damaged(f"{prefix}{name} is missing")
            if name not in wanted:
                raise self.damaged(f"{prefix}{name} is unknown")
            if found[name] != wanted[name]:
                raise self.damaged(f"{prefix}{name} must be {list(wanted[name])}, got {list(found[name])[:8]}")

    def read(self) -> dict[str, Tensor]:
        """Read all tensors.

        Raises:
            UserError: damaged, or numbers that are not finite.
        """
        try:
            with safe_open(self.path, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in self.shapes}
        except (SafetensorError, OSError, ValueError, RuntimeError) as error:
            raise self.damaged(error) from None
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise UserError(f"{self.path}: {name} holds numbers that are not finite")
        return tensors


def shapes_of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a module's state. The module may be on the device "meta", where it takes no memory."""
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def _read_header(path: Path, size: int) -> dict[str, Any]:
    with open_regular(path, size) as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_MAX_HEADER, size - 8):
            raise ValueError("its header has a wrong length")
        header = parse_json(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is no object")
    return header


def _texts(metadata: Any) -> dict[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata are no texts")
    return metadata


def _shape(name: str, entry: Any) -> tuple[int, ...]:
    """Return a tensor's shape. Safetensors itself checks it against the bytes in the file."""
    shape = entry["shape"]
    if entry["dtype"] not in _DTYPES:
        raise ValueError(f"{json.dumps(name)[:60]} has a type that is not used here")
    if not isinstance(shape, list) or len(shape) > 8 or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"{json.dumps(name)[:60]} has a wrong shape")
    return tuple(shape)
