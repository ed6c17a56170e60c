"""Outputs that are written completely or not at all."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import UserError
from .temporaries import longest_name, replace_folder, temporary_beside

_FULL = {
    errno.ENOSPC: "the disk is full; free some space and run again",
    errno.EDQUOT: "your disk quota is used up; free some space and run again",
    errno.EFBIG: "the file is larger than this disk or your limits allow",
}
_CAUSES = {
    errno.ENOENT: "there is no such file",
    errno.EISDIR: "it is a folder, not a file",
    errno.ENOTDIR: "a part of this path is a file, not a folder",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the disk is read-only",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENXIO: "not a regular file",
    errno.ELOOP: "its links lead in a circle, or it is a link where none is followed",
}


@contextmanager
def disk_errors(path: str | Path) -> Iterator[None]:
    """Turn errors of the operating system into a UserError that names the file and the cause.

    A full disk is reported for `path`, the output that the user asked for; an inaccessible file by its own name, if the
    system gives one. Other errors pass through unchanged.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise UserError(f"{path}: {_FULL[error.errno]}") from error
        if error.errno in _CAUSES:
            raise UserError(f"{error.filename or path}: {_CAUSES[error.errno]}") from error
        raise


def check_output(path: str | Path, overwrite: bool = False, *, marker: str | None = None) -> Path:
    """Check, before any work is done, that `path` can be written; return it as a Path.

    Args:
        marker: for an output that is a folder, see `atomic_folder`.

    Raises:
        UserError: `path` exists and `overwrite` is false; its parent folder is missing or not writable; `path` holds
            other files but no `marker`; its name is too long, or not text.
    """
    path = Path(path)
    parent = path.absolute().parent
    _check_text(path)
    if len(os.fsencode(path.name)) > (longest := longest_name(parent)):
        raise UserError(f"the name {path.name[:40]}... is too long: {longest} bytes at most; choose a shorter one")
    with disk_errors(path):
        if (path.is_symlink() or path.exists()) and not overwrite:
            raise UserError(f"{path} exists; choose another name or pass --overwrite to replace it")
        if not parent.is_dir():
            raise UserError(f"{path} cannot be written: there is no folder {parent}")
        if not os.access(parent, os.W_OK | os.X_OK):
            raise UserError(f"{path} cannot be written: the folder {parent} is not writable")
        if marker:
            _check_replaceable(path, marker)
    return path


def _check_text(path: Path) -> None:
    """Raise a UserError if the libraries that write could not take the path."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode(errors="backslashreplace")
        raise UserError(f"{shown} cannot be written: its name, or a folder's, is not UTF-8; choose another") from None


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a name to write to; the file becomes `path` when the block ends, and is removed if it raises.

    The name is in a folder of its own: see `temporaries.temporary_beside`.

    Raises:
        UserError: the folder is missing or not writable, or the disk is full.
    """
    path = Path(path)
    with disk_errors(path), temporary_beside(path) as temporary:
        yield temporary
        temporary.replace(path)


@contextmanager
def atomic_folder(path: str | Path, overwrite: bool = False, *, marker: str | None = None) -> Iterator[Path]:
    """Yield an empty folder that becomes `path` when the block ends, and is removed if it raises.

    With `overwrite`, an existing folder stays untouched until the new one is complete.

    Args:
        path: the folder to make; a symbolic link is followed.
        overwrite: replace an existing folder.
        marker: name of a file that every folder of this kind holds. A folder without it is replaced only if it is
            empty, so that a mistyped `--overwrite` never deletes the user's files.

    Raises:
        UserError: see `check_output`; `path` is a file, or a folder of another kind; the disk is full.
    """
    path = check_output(Path(path).resolve(), overwrite)
    _check_replaceable(path, marker)
    with disk_errors(path), temporary_beside(path) as temporary:
        temporary.mkdir()
        yield temporary
        check_output(path, overwrite)  # something may have appeared there meanwhile
        _check_replaceable(path, marker)
        replace_folder(path, temporary)


def _check_replaceable(path: Path, marker: str | None) -> None:
    if not path.exists():
        return
    if not path.is_dir():
        raise UserError(f"{path} is a file; the output is a folder, choose another name")
    if marker and any(path.iterdir()) and not (path / marker).is_file():
        raise UserError(f"{path} holds other files and no {marker}; it will not be replaced, choose another name")
