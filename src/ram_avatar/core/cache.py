"""The cache: the only folder besides the user's own that is written to. Holds built templates and downloaded models."""

import atexit
import hashlib
import os
import shutil
import urllib.request
from contextlib import ExitStack, suppress
from pathlib import Path

import platformdirs

from .errors import UserError
from .files import atomic_file
from .progress import SILENT, Progress
from .temporaries import scratch_folder

_VARIABLE = "RAM_AVATAR_CACHE"


def cache_folder(progress: Progress = SILENT) -> Path:
    """Return `$RAM_AVATAR_CACHE` or the platform's cache folder for this package; makes it if missing.

    If it cannot be written, this is noted, and a temporary one takes its place until this process ends: it shows the
    files of the other, and the environment variable names it, for this process and those that it starts.

    Raises:
        UserError: neither can be written.
    """
    path = Path(os.environ.get(_VARIABLE) or platformdirs.user_cache_path("ram-avatar"))
    return path if _is_writable(path) else _temporary_cache(path, progress)


def library_cache(name: str, usual: Path) -> Path:
    """Return where a library can keep its files: its usual folder, or one in ours if that cannot be written."""
    return usual if _is_writable(usual) else cache_folder() / name


def discard_damaged(path: Path, progress: Progress = SILENT) -> None:
    """Remove what is in the place of a file of the cache, if anything, and note it.

    Raises:
        OSError: it cannot be removed.
    """
    if not os.path.lexists(path):
        return
    progress.note(f"{path} is damaged, and is made anew")
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _is_writable(path: Path) -> bool:
    """Return whether a folder can be written; make it if missing."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(path, os.R_OK | os.W_OK | os.X_OK)


def _temporary_cache(path: Path, progress: Progress) -> Path:
    """Make a cache folder that lasts as long as this process, with links to the files of the one that is read-only."""
    stack = ExitStack()
    try:
        folder = stack.enter_context(scratch_folder())
    except OSError as error:
        cause = error.strerror or error
        raise UserError(f"{path}: cannot be written, nor can a temporary folder ({cause}); set {_VARIABLE}") from None
    atexit.register(stack.close)
    with suppress(OSError):  # not even readable
        for file in path.iterdir():
            if file.is_file() and os.access(file, os.R_OK):
                (folder / file.name).symlink_to(file.absolute())
    progress.note(f"The cache folder {path} cannot be written; a temporary one is used this time (set {_VARIABLE})")
    os.environ[_VARIABLE] = str(folder)
    return folder


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(url: str, checksum: str, max_bytes: int, timeout: float = 10.0) -> Path:
    """Download `url` to the cache, unless it is there; return its path.

    Args:
        checksum: SHA-256 that the file must have, in hexadecimal.
        max_bytes: largest size accepted.
        timeout: seconds without data before giving up.

    Raises:
        UserError: no network, a larger file, or another checksum. Nothing is left behind.
    """
    target = cache_folder() / Path(url).name
    if target.is_file() and sha256(target) == checksum:
        return target
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:
            content = response.read(max_bytes + 1)
    except OSError as error:
        raise UserError(f"{url}: cannot be downloaded ({error})") from None
    if len(content) > max_bytes or hashlib.sha256(content).hexdigest() != checksum:
        raise UserError(f"{url}: not the expected file (its checksum differs); it was not kept")
    discard_damaged(target)
    with atomic_file(target) as partial:
        partial.write_bytes(content)
    return target
