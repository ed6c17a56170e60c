"""Temporary folders that nothing outlives: whatever a killed process left is removed by the next one beside it."""

import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from . import lock

_PATTERN = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.part", re.DOTALL)
_ADDED = len("..01234567.part")  # to a name, in bytes
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)


def longest_name(folder: Path) -> int:
    """Return how long a name in a folder may be, in bytes, so that its temporary folder's name fits, too."""
    try:
        return os.pathconf(folder, "PC_NAME_MAX") - _ADDED
    except (OSError, ValueError, AttributeError):  # unknown, or Windows
        return 255 - _ADDED


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """Yield a free name like that of `path`, in a hidden folder beside it that is removed at the end.

    Renaming what was made there to `path` stays on one disk. Only this user can look inside. This process locks the
    folder; first, such folders of whatever name beside `path` that no living process locks are removed.

    Raises:
        OSError: the folder cannot be made.
    """
    if lock.supported():
        _remove_leftovers(path.parent)
    folder, descriptor = _make(path)
    try:
        yield folder / path.name
    finally:
        _restore_replaced(folder, path)
        shutil.rmtree(folder, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


@contextmanager
def scratch_folder(beside: Path | None = None) -> Iterator[Path]:
    """Yield an empty folder that is removed at the end: in the system's temporary folder, or in a given one."""
    parent = Path(tempfile.gettempdir()) if beside is None else beside
    with temporary_beside(parent / "ram-avatar") as path:
        path.mkdir()
        yield path


def replace_folder(path: Path, new: Path) -> None:
    """Move `new`, a name from `temporary_beside(path)`, to `path`.

    An earlier folder is put back if this fails, by the next process if this one is killed.
    """
    if path.exists():
        path.rename(_replaced(new.parent, path))
    new.rename(path)


def _make(path: Path) -> tuple[Path, int | None]:
    """Make and lock a temporary folder; return it and the lock's descriptor."""
    while True:
        folder = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        folder.mkdir(mode=0o700)
        if not lock.supported():
            return folder, None
        try:
            descriptor = lock.open_locked(folder, _FOLDER)
        except lock.Unlockable:
            return folder, None
        except FileNotFoundError:  # another process thought it was left behind
            continue
        except OSError:
            folder.rmdir()
            raise
        if descriptor is not None:
            return folder, descriptor


def _remove_leftovers(parent: Path) -> None:
    """Remove the temporary folders of this user in `parent` that no living process holds."""
    with suppress(OSError), os.scandir(parent) as entries:
        found = [entry for entry in entries if _PATTERN.fullmatch(entry.name)]
        for entry in found:
            with suppress(OSError, lock.Unlockable):
                if entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_uid == os.geteuid():
                    _remove_leftover(Path(entry.path))


def _remove_leftover(folder: Path) -> None:
    descriptor = lock.open_locked(folder, _FOLDER)
    if descriptor is None:
        return
    try:
        named = _PATTERN.fullmatch(folder.name)
        assert named is not None
        _restore_replaced(folder, folder.with_name(named["name"]))
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)


def _replaced(folder: Path, path: Path) -> Path:
    """Return where in a temporary folder that is kept which had the name `path` before."""
    return folder / f"{path.name}~"


def _restore_replaced(folder: Path, path: Path) -> None:
    """Put back what was moved away from `path`, unless something else is there by now."""
    replaced = _replaced(folder, path)
    if replaced.is_dir() and not os.path.lexists(path):
        replaced.rename(path)
