"""Zip archives and .npz files: sizes, types and shapes are checked before anything is inflated."""

import ast
import math
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..text import one_line
from .files import open_regular
from .records import LARGEST, LONGEST_TEXT

Shape = tuple[int | range | None, ...]
"""The shape that an array must have: a range stands for the sizes in it, None for any size."""

MAX_ENTRIES = 100_000
_SMALL = 256 << 20  # bytes that the arrays of any file may take; more, only in proportion to its size
_RATIO = 50
_MAGIC, _MAX_HEADER = b"\x93NUMPY", 10_000
_NUMBERS, _WHOLE, _TEXTS = "iuf", "iu", "U"
_KINDS = {_NUMBERS: "numbers", _WHOLE: "whole numbers", _TEXTS: "short texts"}
_ENCRYPTED = 1  # a flag of an archive's entry
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
    tokenize.TokenError,
    TypeError,
    UnicodeError,
    ValueError,
    struct.error,
)
"""What zipfile, its decompressors and NumPy raise for damaged or encrypted files."""


@contextmanager
def open_archive(path: str | Path, most: int, kind: str) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive for reading. What its entries take unpacked is checked when they are read.

    Args:
        most: largest size of the file accepted, in bytes.
        kind: what the file should be, for messages: "a motion".

    Raises:
        UserError: see `files.open_regular`; not an archive, damaged, or too many entries.
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
            yield archive


def open_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> IO[bytes]:
    """Open one entry of an archive, stored or deflated.

    Raises:
        ValueError: it is damaged, encrypted, or compressed in another way.
    """
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{entry.filename} is compressed in a way that is not read")
    if entry.flag_bits & _ENCRYPTED:
        raise ValueError(f"{entry.filename} is encrypted")
    try:
        return archive.open(entry)
    except DAMAGE as error:
        raise ValueError(f"{entry.filename} is damaged ({_cause(error)})") from None


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


@contextmanager
def open_arrays(path: str | Path, most: int, kind: str) -> Iterator["Arrays"]:
    """Open an .npz file for reading. ValueErrors within the block become UserErrors that name the file.

    Its arrays may together be at most 50 times as large as the file, or 256 MB.

    Args:
        most: largest size accepted in bytes, of the file and of its arrays.
        kind: what the file should be, for messages: "a motion".

    Raises:
        UserError: see `open_archive` and `Arrays`.
    """
    with open_archive(path, most, kind) as archive:
        try:
            yield Arrays(archive, min(most, max(_SMALL, _RATIO * Path(path).stat().st_size)))
        except ValueError as error:
            raise UserError(f"{path}: {error}") from None


class Arrays:
    """The arrays of an .npz file. The header of each is checked before the array is read.

    Arrays of other types than numbers and text count as damaged only when they are asked for.

    Args:
        archive: see `open_archive`.
        most: bytes that all arrays may take together, unpacked, and those that are read once more after conversion.

    Raises:
        ValueError: the arrays take more.
    """

    def __init__(self, archive: zipfile.ZipFile, most: int):
        self._archive, self._most, self._left = archive, most, most
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
        """Return an array's shape without reading it. Raises ValueError: the array is missing or damaged."""
        with self._open(key) as (_, header):
            return header.shape

    def numbers(
        self, key: str, shape: Shape | None = None, dtype: Any = np.float32, largest: float = LARGEST
    ) -> Tensor:
        """Return an array of numbers.

        Args:
            shape: the shape that it must have; None for any.
            dtype: NumPy's type of floating-point numbers to convert to.
            largest: magnitude that no number may exceed.

        Raises:
            ValueError: the array is missing, damaged, too large, of another shape, or holds anything but finite numbers
                in range.
        """
        tensor = torch.from_numpy(self._array(key, shape, _NUMBERS, dtype))
        if not (tensor.abs() <= largest).all():  # NaN fails, too
            raise ValueError(f"{key} holds numbers that are not finite, or out of range")
        return tensor

    def number(self, key: str, low: float = -LARGEST, high: float = LARGEST) -> float:
        """Return an array of one number from `low` to `high`. Raises ValueError: see `numbers`."""
        if self.shape(key) not in ((), (1,)):
            raise ValueError(f"{key} must be one number")
        value = float(self._array(key, None, _NUMBERS, np.float64).item())
        if not low <= value <= high:
            raise ValueError(f"{key} must be from {low:g} to {high:g}, got {value:g}")
        return value

    def indices(self, key: str, shape: Shape, below: int) -> Tensor:
        """Return an array of whole numbers from 0 to below a bound, as int64. Raises ValueError: see `numbers`."""
        tensor = torch.from_numpy(self._array(key, shape, _WHOLE, np.int64))
        if tensor.numel() and not 0 <= int(tensor.min()) <= int(tensor.max()) < below:
            raise ValueError(f"{key} must hold indices below {below}")
        return tensor

    def text(self, key: str, longest: int = LONGEST_TEXT) -> str:
        """Return an array that is one printable text. See `texts`."""
        return self.texts(key, (), longest)[0]

    def texts(self, key: str, shape: Shape, longest: int = LONGEST_TEXT) -> list[str]:
        """Return the printable texts of an array, in order.

        Raises:
            ValueError: the array is missing, damaged, of another shape or type, or a text is too long or not printable.
        """
        found = [str(text) for text in self._array(key, shape, _TEXTS, None, 4 * longest).reshape(-1)]
        if not all(text.isprintable() for text in found):
            raise ValueError(f"{key} holds characters that cannot be printed")
        return found

    def _array(self, key: str, shape: Shape | None, kinds: str, dtype: Any, widest: int = _ITEM) -> np.ndarray:
        """Read an array of some kinds of items, and convert it."""
        with self._open(key) as (file, header):
            if header.dtype.kind not in kinds or header.dtype.itemsize > widest:
                raise ValueError(f"{key} must hold {_KINDS[kinds]}")
            if header.bytes > self._entries[key].file_size:
                raise ValueError(f"{key} is damaged (cut short)")
            if shape is not None and not _fits(header.shape, shape):
                wanted = ", ".join(map(_describe, shape))
                raise ValueError(f"{key} must be [{wanted}], got {list(header.shape)[:8]}")
            self._left -= math.prod(header.shape) * np.dtype(dtype or header.dtype).itemsize
            if self._left < 0:
                raise ValueError(f"its arrays take more than {self._most >> 20} MB")
            array = _read(key, file, header)
        with np.errstate(over="ignore", invalid="ignore"):
            return array if dtype is None else array.astype(dtype, order="C", copy=False)

    @contextmanager
    def _open(self, key: str) -> Iterator[tuple[IO[bytes], _Header]]:
        """Open an entry behind its header. Raises ValueError: the array is missing or damaged."""
        if key not in self:
            raise ValueError(f"has no {key}")
        with open_entry(self._archive, self._entries[key]) as file:
            yield file, _read_header(key, file)


def _fits(found: tuple[int, ...], wanted: Shape) -> bool:
    fits = lambda size, want: want is None or (size in want if isinstance(want, range) else size == want)
    return len(found) == len(wanted) and all(map(fits, found, wanted))


def _describe(size: int | range | None) -> str:
    return "any" if size is None else f"{size[0]} to {size[-1]}" if isinstance(size, range) else str(size)


def _read_header(key: str, file: IO[bytes]) -> _Header:
    """Read the header of a .npy file (NumPy's NEP 1).

    NumPy's own reader is not used: it warns on the terminal, and allocates what the header asks for.
    """
    try:
        magic = file.read(8)
        if len(magic) < 8 or magic[:6] != _MAGIC or magic[6] not in (1, 2, 3):
            raise ValueError("it does not begin as one")
        size = struct.unpack("<H", file.read(2))[0] if magic[6] == 1 else struct.unpack("<I", file.read(4))[0]
        if size > _MAX_HEADER:
            raise ValueError("its header is too long")
        described = _parse(file.read(size))
        shape, order, kind = described["shape"], described["fortran_order"], described["descr"]
        if not isinstance(shape, tuple) or len(shape) > 8 or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError("its shape is wrong")
        if not isinstance(order, bool) or not isinstance(kind, str):
            raise ValueError("its header is wrong")
        return _Header(shape, np.dtype(kind), order)
    except DAMAGE as error:
        raise ValueError(f"{key} is damaged or not a plain array ({_cause(error)})") from None


def _parse(header: bytes) -> Any:
    """Parse the literal that a header is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python's parser, about odd literals
            return ast.literal_eval(header.decode("latin-1").strip())
    except DAMAGE:
        raise ValueError("its header is damaged") from None


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
