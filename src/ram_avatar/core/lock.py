"""Locks that end with the process that holds them, so that a killed one leaves nothing locked."""

import os
from types import ModuleType

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


def supported() -> bool:
    """Return whether this system has such locks. Without them nothing is locked, and nothing counts as left behind."""
    return fcntl is not None


def open_locked(path: str | os.PathLike[str], flags: int, mode: int = 0o600) -> int | None:
    """Open a file or a folder and lock it, without waiting; closing the descriptor unlocks it.

    The lock belongs to the open descriptor: it holds against other threads of this process, too. Processes forked
    meanwhile share it. A symbolic link is not followed.

    Args:
        flags, mode: see `os.open`.

    Returns:
        The descriptor; None if something else holds the lock, or `path` was renamed or removed meanwhile.

    Raises:
        OSError: it cannot be opened.
        Unlockable: the disk does not support locks.
    """
    assert fcntl is not None
    descriptor = os.open(path, flags | _NO_LINK, mode)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is(descriptor, path):
            return descriptor
    except BlockingIOError:
        pass
    except OSError as error:
        os.close(descriptor)
        raise Unlockable(str(error)) from None
    os.close(descriptor)
    return None


class Unlockable(Exception):
    """The disk does not support locks, as some network drives."""


def _is(descriptor: int, path: str | os.PathLike[str]) -> bool:
    """Return whether `path` still names what the descriptor was opened for."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False
