"""Zip archives and .npz files: sizes, types and shapes are checked before anything is inflated."""

import ast
import io
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..text import one_line
from .files import open_regular

MAX_ENTRIES = 100_000
_SMALL = 256 << 20  # bytes that any archive may inflate to; more, only in proportion to its size
_RATIO = 50
_MAGIC, _MAX_HEADER = b"\x93NUMPY", 10_000
_NUMBERS, _TEXTS = "iuf", "U"
_ITEM = 16  # bytes of the widest number

DAMAGE = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    TypeError,
    UnicodeError,
    ValueError,
    struct.error,
    tokenize.TokenError,
)
"""What zipfile, its decompressors and NumPy raise for damaged or encrypted files."""


@contextmanager
def open_archive(path: str | Path, most: int, kind: str) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive for reading. Its entries may together be at most 50 times as large as itself, or 256 MB.

    Args:
        most: largest size of the file accepted, in bytes.
        kind: what the file should be, for messages: "a motion".

    Raises:
        UserError: see `files.open_regular`; not an archive, damaged, too many entries, or too large unpacked.
    """
    with open_regular(path, most, kind) as file:
        try:
            archive = zipfile.ZipFile(file)
        except DAMAGE as error:
            raise UserError(f"{path}: not {kind}, or damaged ({_cause(error)})") from None
        with archive:
            entries = archive.infolist()
            if len(entries) > MAX_ENTRIES:
                raise UserError(f"{path}: holds {len(entries)} files; at most {MAX_ENTRIES} are read")
            size = file.seek(0, io.SEEK_END)
            allowed = max(_SMALL, _RATIO * size)
            if sum(entry.file_size for entry in entries) > allowed:
                raise UserError(f"{path}: takes more than {allowed >> 20} MB unpacked, too much for {size >> 10} kB")
            yield archive


def open_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> IO[bytes]:
    """Open one entry of an archive, stored or deflated.

    Raises:
        ValueError: it is damaged, encrypted, or compressed in another way.
    """
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{entry.filename} is compressed in a way that is not read")
    try:
        return archive.open(entry)
    except DAMAGE as error:
        raise ValueError(f"{entry.filename} is damaged or encrypted ({_cause(error)})") from None


def read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    """Inflate one entry of an archive.

    Raises:
        ValueError: see `open_entry`; or larger than `most` bytes.
    """
    if entry.file_size > most:
        raise ValueError(f"{entry.filename} is larger than {most >> 20} MB")
    with open_entry(archive, entry) as file:
        try:
            return file.read(most)
        except DAMAGE as error:
            raise ValueError(f"{entry.filename} is damaged ({_cause(error)})") from None


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    dtype: np.dtype
    column_major: bool

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class Arrays:
    """The arrays of an .npz file.

    Their headers are read at once: name, type, shape. Arrays of other types than numbers and text count as damaged
    only when they are asked for.

    Args:
        archive: see `open_archive`.
        most: bytes that all arrays may take together, unpacked.

    Raises:
        ValueError: the arrays take more.
    """

    def __init__(self, archive: zipfile.ZipFile, most: int):
        self._archive = archive
        self._entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
        if sum(entry.file_size for entry in self._entries.values()) > most:
            raise ValueError(f"its arrays take more than {most >> 20} MB")

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def names(self) -> list[str]:
        """Return the names of the arrays."""
        return list(self._entries)

    def first(self, keys: Iterable[str]) -> str | None:
        """Return the first of the keys that exists, or None."""
        return next((key for key in keys if key in self), None)

    def shape(self, key: str) -> tuple[int, ...]:
        """Return an array's shape without reading it. Raises ValueError: see `numbers`."""
        with self._open(key) as (_, header):
            return header.shape

    def numbers(self, key: str, shape: tuple[int | None, ...] | None = None) -> Tensor:
        """Return an array as float32.

        Args:
            shape: the shape that it must have; None stands for any size.

        Raises:
            ValueError: the array is missing, damaged, of another shape, or holds anything but finite numbers.
        """
        with self._open(key) as (file, header):
            if header.dtype.kind not in _NUMBERS or header.dtype.itemsize > _ITEM:
                raise ValueError(f"{key} holds no numbers")
            if shape is not None and not _fits(header.shape, shape):
                wanted = ", ".join("any" if size is None else str(size) for size in shape)
                raise ValueError(f"{key} must be [{wanted}], got {list(header.shape)[:8]}")
            array = _read(key, file, header)
            with np.errstate(over="ignore"):
                tensor = torch.from_numpy(array.astype(np.float32))
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{key} holds numbers that are not finite")
        return tensor

    def number(self, key: str) -> float:
        """Return an array of one number. Raises ValueError: see `numbers`."""
        with self._open(key) as (_, header):
            if header.shape not in ((), (1,)):
                raise ValueError(f"{key} must be one number")
        return float(self.numbers(key))

    def text(self, key: str, longest: int = 100) -> str:
        """Return an array that is one printable text.

        Raises:
            ValueError: it is missing, damaged, something else, or too long.
        """
        with self._open(key) as (file, header):
            if header.dtype.kind not in _TEXTS or header.shape != () or header.bytes > 4 * longest:
                raise ValueError(f"{key} must be a text of at most {longest} characters")
            text = str(_read(key, file, header))
        if not text.isprintable():
            raise ValueError(f"{key} holds characters that cannot be printed")
        return text

    @contextmanager
    def _open(self, key: str) -> Iterator[tuple[IO[bytes], _Header]]:
        """Open an entry behind its header. Raises ValueError: the array is missing or damaged."""
        if key not in self:
            raise ValueError(f"has no {key}")
        entry = self._entries[key]
        with open_entry(self._archive, entry) as file:
            header = _read_header(key, file)
            if header.bytes > entry.file_size:
                raise ValueError(f"{key} is damaged (cut short)")
            yield file, header


def _fits(found: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(found) == len(wanted) and all(w is None or f == w for f, w in zip(found, wanted, strict=True))


def _read_header(key: str, file: IO[bytes]) -> _Header:
    """Read the header of a .npy file (NumPy's NEP 1).

    NumPy's own reader is not used: it warns on the terminal, and parses with `ast` whatever length there is.
    """
    try:
        magic = file.read(8)
        if len(magic) < 8 or magic[:6] != _MAGIC or magic[6] not in (1, 2, 3):
            raise ValueError("not a plain array")
        size = struct.unpack("<H", file.read(2))[0] if magic[6] == 1 else struct.unpack("<I", file.read(4))[0]
        if size > _MAX_HEADER:
            raise ValueError("its header is too long")
        described = ast.literal_eval(file.read(size).decode("latin-1").strip())
        shape, order, kind = described["shape"], described["fortran_order"], described["descr"]
        if not isinstance(shape, tuple) or len(shape) > 8 or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError("its shape is wrong")
        if not isinstance(order, bool) or not isinstance(kind, str):
            raise ValueError("not a plain array")
        return _Header(shape, np.dtype(kind), order)
    except DAMAGE as error:
        raise ValueError(f"{key} is damaged or not a plain array ({_cause(error)})") from None


def _read(key: str, file: IO[bytes], header: _Header) -> np.ndarray:
    try:
        array = np.empty(header.shape[::-1] if header.column_major else header.shape, header.dtype)
        view = array.reshape(-1).view(np.uint8)
        at = 0
        while at < len(view):
            part = file.read(min(1 << 20, len(view) - at))
            if not part:
                raise EOFError("cut short")
            view[at : at + len(part)] = np.frombuffer(part, np.uint8)
            at += len(part)
    except DAMAGE as error:
        raise ValueError(f"{key} is damaged ({_cause(error)})") from None
    return array.T if header.column_major else array


def _cause(error: BaseException) -> str:
    return one_line(str(error) or type(error).__name__, 80)
