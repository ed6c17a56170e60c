"""The cache: the only folder besides the user's own that is written to. Holds built templates and downloaded models."""

import hashlib
import os
import urllib.request
from pathlib import Path

import platformdirs

from .errors import UserError


def cache_folder() -> Path:
    """Return `$RAM_AVATAR_CACHE` or the platform's cache folder for this package; makes it if missing.

    Raises:
        UserError: it cannot be made.
    """
    path = Path(os.environ.get("RAM_AVATAR_CACHE") or platformdirs.user_cache_path("ram-avatar"))
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: the cache folder cannot be made ({error.strerror}); set RAM_AVATAR_CACHE") from None
    return path


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
    partial = target.with_suffix(f".{os.getpid()}.part")
    partial.write_bytes(content)
    partial.replace(target)
    return target
