"""One process at a time makes a file or a folder."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from . import lock
from .errors import UserError
from .files import check_output, disk_errors

_MAX_PID = 20  # digits
_ours: dict[Path, int] = {}  # what this process makes, and the threads that do


@contextmanager
def sole_writer(path: str | Path) -> Iterator[None]:
    """Keep other processes from making `path`, which need not exist yet, until the block ends.

    The lock is a hidden file beside `path`, which is removed at the end. What a killed process left behind locks
    nothing. The same thread may enter again. Where there are no locks (Windows, some network drives), nobody is kept
    from anything.

    Raises:
        UserError: another process or thread makes `path`; it cannot be written, see `files.check_output`.
    """
    target = check_output(Path(path).resolve(), overwrite=True)
    if _ours.get(target) == threading.get_ident():
        yield
        return
    file = target.with_name(f".{target.name}.lock")
    with disk_errors(file):
        descriptor = _lock(file, path)
    if descriptor is None:
        yield
        return
    _ours[target] = threading.get_ident()
    try:
        yield
    finally:
        del _ours[target]
        with suppress(OSError):  # another user's, left behind in a shared folder
            file.unlink(missing_ok=True)  # while it is locked: nobody else can have taken it
        os.close(descriptor)


def _lock(file: Path, path: str | Path) -> int | None:
    """Return the locked descriptor of a lock file with our process's id; None where there are no locks."""
    if not lock.supported():
        return None
    while True:
        try:
            descriptor = _open(file)
        except lock.Unlockable:
            return None
        if descriptor is not None:
            with suppress(OSError):  # opened for reading only
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"{os.getpid()}\n".encode())
            return descriptor
        if file.exists():  # otherwise its owner has just finished
            raise UserError(f"{path} is being made by another process{_owner(file)}; wait for it, or end it")


def _open(file: Path) -> int | None:
    try:
        return lock.open_locked(file, os.O_RDWR | os.O_CREAT, 0o644)
    except PermissionError:
        if not file.exists():
            raise
        return lock.open_locked(file, os.O_RDONLY)  # another user's


def _owner(file: Path) -> str:
    """Return the id of the process that holds a lock file, in parentheses; nothing if it is not known."""
    try:
        with file.open("rb") as opened:
            number = opened.read(_MAX_PID).strip()
    except OSError:
        return ""
    return f" (id {int(number)})" if number.isdigit() else ""
