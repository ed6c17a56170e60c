"""Safetensors files: names, types and shapes are known, and can be checked, before a tensor is read."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import UserError
from ..text import one_line
from .documents import parse_json
from .files import check_regular, open_regular
from .records import LARGEST, Description

_MAX_HEADER = 4 << 20  # bytes
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class TensorFile:
    """A safetensors file, its header read.

    Args:
        path: the file.
        most: largest size accepted, in bytes.
        kind: what the file should be, for messages: "an avatar's weights".

    Attributes:
        shapes, dtypes: of the tensors, by name.
        metadata: texts by name.

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
            self.dtypes = {name: _dtype(name, entry) for name, entry in header.items()}
        except ValueError as error:
            raise self.damaged(error) from None

    def damaged(self, error: object) -> UserError:
        """Return the error to raise for a fault of this file."""
        return UserError(f"{self.path}: damaged, not {self._kind} ({one_line(str(error), 160)})")

    def facts(self) -> Description:
        """Return the JSON object that the metadata holds as "facts". Raises UserError: there is none."""
        try:
            facts = parse_json(self.metadata["facts"])
            if not isinstance(facts, dict):
                raise ValueError("its facts are no object")
        except KeyError:
            raise self.damaged("it states no facts") from None
        except ValueError as error:
            raise self.damaged(error) from None
        return Description(facts, self.path)

    def check(self, wanted: Mapping[str, Tensor], optional: Mapping[str, Tensor] = MappingProxyType({})) -> None:
        """Check that the file holds tensors of the wanted names, types and shapes, and no others.

        Args:
            wanted: tensors that must be there. They may be on the device "meta", where they take no memory.
            optional: tensors that may be there.

        Raises:
            UserError: one is missing, too many, or has another type or shape.
        """
        for name in sorted({*self.shapes, *wanted}):
            tensor = wanted.get(name, optional.get(name))
            if name not in self.shapes:
                raise self.damaged(f"{name} is missing")
            if tensor is None:
                raise self.damaged(f"{name} is unknown")
            if self.shapes[name] != tensor.shape:
                raise self.damaged(f"{name} must be {list(tensor.shape)}, got {list(self.shapes[name])}")
            if self.dtypes[name] != tensor.dtype:
                raise self.damaged(f"{name} must be {_word(tensor.dtype)}, got {_word(self.dtypes[name])}")

    def read(self) -> dict[str, Tensor]:
        """Read all tensors.

        Raises:
            UserError: damaged, or numbers that are not finite or beyond `records.LARGEST`.
        """
        try:
            with safe_open(self.path, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in self.shapes}
        except (SafetensorError, OSError, ValueError, RuntimeError) as error:
            raise self.damaged(error) from None
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not (tensor.abs() <= LARGEST).all():  # NaN fails, too
                raise UserError(f"{self.path}: {name} holds numbers that are not finite, or out of range")
        return tensors


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
    shape = entry.get("shape") if isinstance(entry, dict) else None
    if not isinstance(shape, list) or len(shape) > 8 or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"{name[:60]} has a wrong shape")
    return tuple(shape)


def _dtype(name: str, entry: dict[str, Any]) -> torch.dtype:
    kind = entry.get("dtype")
    if not isinstance(kind, str) or kind not in _DTYPES:
        raise ValueError(f"{name[:60]} has a type that is not used here")
    return _DTYPES[kind]


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
