"""NumPy archives. Those from untrusted sources: nothing is unpickled, and sizes are checked before reading."""

import errno
import io
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def write_arrays(path: str | Path, **arrays: np.ndarray | str | float) -> None:
    """Write a compressed `.npz`.

    It is packed in memory: an archive that fails on a full disk prints a traceback of its own when it is collected.
    """
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    Path(path).write_bytes(packed.getbuffer())


@contextmanager
def open_archive(path: str | Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive for reading.

    Raises:
        zipfile.BadZipFile: not an archive, or its table of contents is damaged.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (NotImplementedError, UnicodeError, struct.error, OverflowError, ValueError) as error:
        raise zipfile.BadZipFile(str(error)) from None
    except OSError as error:
        raise _as_damage(error) from None
    with archive:
        yield archive


def _as_damage(error: OSError) -> Exception:
    """Return the error; as BadZipFile if an offset lies outside the file."""
    return zipfile.BadZipFile(str(error)) if error.errno == errno.EINVAL else error


class Arrays:
    """The arrays of an untrusted .npz file."""

    def __init__(self, archive: zipfile.ZipFile, max_bytes: int):
        """Open the arrays of an archive; none may be larger than `max_bytes` unpacked."""
        self._archive, self._max_bytes = archive, max_bytes
        self._entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def first(self, keys: Iterable[str]) -> str | None:
        """Return the first of the keys that exists, or None."""
        return next((key for key in keys if key in self), None)

    def numbers(self, key: str) -> Tensor:
        """Return an array as float32, of any shape.

        Raises:
            ValueError: the array is missing, too large, damaged, or holds anything but finite numbers.
        """
        if key not in self:
            raise ValueError(f"has no {key}")
        if self._entries[key].file_size > self._max_bytes:
            raise ValueError(f"{key} takes more than {self._max_bytes >> 20} MB")
        try:
            content = io.BytesIO(self._archive.read(self._entries[key]))
            array = np.lib.format.read_array(content, allow_pickle=False)
        except (ValueError, EOFError, MemoryError, NotImplementedError, RuntimeError, zlib.error) as error:
            raise ValueError(f"{key} is damaged or not a plain array ({error})") from None
        except OSError as error:
            raise _as_damage(error) from None
        if array.dtype.kind not in "iuf":
            raise ValueError(f"{key} holds no numbers")
        with np.errstate(over="ignore"):
            tensor = torch.from_numpy(array.astype(np.float32))
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{key} holds numbers that are not finite")
        return tensor
