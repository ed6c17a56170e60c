"""Regular files of bounded size."""

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import UserError
from ..files import disk_errors

LONGEST_LINE = 1 << 16  # characters


def open_regular(path: str | Path, most: int, kind: str = "") -> BinaryIO:
    """Open a file for reading, unless it is a pipe, a device or a folder, which might block or never end.

    Args:
        most: largest size accepted, in bytes.
        kind: what the file should be ("a motion", "an avatar's description"), for messages.

    Raises:
        UserError: no such file, not a regular file, no permission, or too large.
    """
    with disk_errors(path):
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise UserError(f"{path}: it is a folder, not a file")
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{path}: not a regular file")
        if status.st_size > most:
            raise UserError(f"{path}: larger than {_size(most)}, too large for {kind or 'such a file'}")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def check_regular(path: str | Path, most: int, kind: str = "") -> int:
    """Check a file that a library will open by its name; return its size in bytes. See `open_regular`."""
    with open_regular(path, most, kind) as file:
        return os.fstat(file.fileno()).st_size


def read_bytes(path: str | Path, most: int, kind: str = "") -> bytes:
    """Read a file of at most `most` bytes. See `open_regular`."""
    with open_regular(path, most, kind) as file, disk_errors(path):
        content = file.read(most + 1)
    if len(content) > most:  # it grew meanwhile, or the file system does not tell sizes
        raise UserError(f"{path}: larger than {_size(most)}, too large for {kind or 'such a file'}")
    return content


def read_text(path: str | Path, most: int, kind: str = "") -> str:
    """Read a UTF-8 file of at most `most` bytes; a byte-order mark is left out.

    Raises:
        UserError: see `open_regular`; or the file is not UTF-8.
    """
    try:
        return read_bytes(path, most, kind).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file in UTF-8") from None


def read_lines(path: str | Path, most: int, kind: str = "", encoding: str = "utf-8-sig") -> Iterator[str]:
    """Yield the lines of a text file of at most `most` bytes, with their ends. Bytes that are no text become U+FFFD.

    Raises:
        UserError: see `open_regular`; or a line is longer than `LONGEST_LINE`.
    """
    with io.TextIOWrapper(open_regular(path, most, kind), encoding, "replace") as file, disk_errors(path):
        number = 0
        while line := file.readline(LONGEST_LINE + 1):
            number += 1
            if len(line) > LONGEST_LINE:
                raise UserError(f"{path}: line {number}: longer than {LONGEST_LINE} characters")
            yield line


def _size(count: int) -> str:
    """Return a number of bytes in words."""
    for unit, name in ((30, "GB"), (20, "MB"), (10, "kB")):
        if count >= 1 << unit:
            return f"{count >> unit} {name}"
    return f"{count} bytes"
