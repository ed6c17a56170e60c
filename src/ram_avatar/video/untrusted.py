"""Videos, sound and images that others made, decoded in a confined process (`sandbox`)."""

import json
import os
import select
import subprocess
import sys
import time
import weakref
from io import RawIOBase
from pathlib import Path
from typing import Any, cast

import numpy as np

from ..core.errors import UserError
from ..core.untrusted.documents import parse_json
from .decoding import MAX_SIDE
from .sandbox import BUSY, HEAD, INFO, PICT, WAVE

_PATIENCE = 30.0  # seconds to wait for a message before giving up
_MAX_INFO = 64 << 10  # bytes
_MAX_SAMPLES = 1 << 20
_CHANNELS = 2
_PIPE = 1 << 20  # bytes; the usual 64 kB take a hundred reads for an image
_PACKAGES = str(Path(__file__).parents[2])
# One thread each: the process only decodes, and each thread of these libraries takes address space.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class Decoder:
    """Decodes one file, in order.

    The process is trusted as little as the file: what it sends is bounded, too.

    Args:
        kind: what to decode, see `sandbox`: "film", "picture", ....
        name: the user's name for the file, for messages.
        rotate: degrees clockwise by which to turn a film's frames, see `video.probe`.
        options: further fields of the task.
    """

    def __init__(self, kind: str, path: Path, name: str, rotate: int = 0, **options: int | None):
        self._name, self._path = name, str(path)
        task = {"kind": kind, "path": self._path, "rotate": rotate, **options}
        paths = [_PACKAGES, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            # -P: nothing is imported from the folder that happens to be the current one.
            [sys.executable, "-P", "-m", "ram_avatar.video.sandbox", json.dumps(task)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,  # the parent handles Ctrl-C
        )
        assert self._process.stdout is not None and self._process.stderr is not None  # pipes, see above
        self._stdout, self._stderr = cast(RawIOBase, self._process.stdout), self._process.stderr  # it is unbuffered
        _widen(self._stdout.fileno())
        self._end = weakref.finalize(self, _end, self._process)  # also of a decoder that nobody closes

    def next(self) -> tuple[float, np.ndarray] | None:
        """Return the seconds from the start and the frame [H, W, 3] uint8; None at the end.

        Raises:
            UserError: the file is damaged, not a film or image, or exceeds the limits.
        """
        head = self._head(PICT)
        if head is None:
            return None
        seconds, width, height = head
        if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
            raise self._refused()
        image = np.empty((height, width, 3), np.uint8)
        self._fill(image.data.cast("B"))
        return seconds, image

    def wave(self) -> np.ndarray | None:
        """Return the next part of the sound, [2, N] float32; None at the end. Raises UserError: see `next`."""
        head = self._head(WAVE)
        if head is None:
            return None
        _, channels, samples = head
        if channels != _CHANNELS or not 0 < samples <= _MAX_SAMPLES:
            raise self._refused()
        part = np.empty((channels, samples), np.float32)
        self._fill(part.data.cast("B"))
        return part

    def info(self) -> dict[str, Any]:
        """Return what the process states about the file. Raises UserError: see `next`."""
        head = self._head(INFO)
        if head is None or not 0 < head[1] <= _MAX_INFO:
            raise self._refused()
        content = bytearray(head[1])
        self._fill(memoryview(content))
        values = parse_json(bytes(content))
        assert isinstance(values, dict)
        return values

    def close(self) -> None:
        """End the process."""
        self._end()

    def _head(self, expected: bytes) -> tuple[float, int, int] | None:
        """Read the head of the next message, which must be of a kind; None at the end of the file."""
        head = bytearray(HEAD.size)
        while True:
            if not self._fill(memoryview(head), may_end=True):
                if code := self._process.wait():
                    raise UserError(self._complaint(code))
                return None
            kind, seconds, first, second = HEAD.unpack(head)
            if kind == expected:
                return seconds, first, second
            if kind != BUSY:
                raise self._refused()

    def _fill(self, view: memoryview, may_end: bool = False) -> bool:
        """Read until a buffer is full; return False if there is nothing more, where that may be."""
        until, filled = time.monotonic() + _PATIENCE, 0
        while filled < len(view):
            if os.name == "posix":  # elsewhere, pipes cannot be waited for
                ready, _, _ = select.select([self._stdout], [], [], max(0.0, until - time.monotonic()))
                if not ready:
                    raise UserError(f"{self._name}: decoding takes too long")
            count = self._stdout.readinto(view[filled:])
            if not count:
                if filled or not may_end:
                    raise UserError(self._complaint(self._process.wait()))
                return False
            filled += count
        return True

    def _refused(self) -> UserError:
        return UserError(f"{self._name}: cannot be decoded")

    def _complaint(self, code: int) -> str:
        """Return the message for an exit code."""
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        if code == 2 and lines:
            return lines[-1].replace(self._path, self._name)
        return f"{self._name}: cannot be decoded within the limits on time and memory"


def _widen(pipe: int) -> None:
    """Let a pipe hold more, where the system can."""
    try:
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)
    except (ImportError, AttributeError, OSError):
        pass


def _end(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def read_untrusted_picture(path: Path, name: str) -> np.ndarray:
    """Decode an untrusted image to [H, W, 3] uint8. Raises UserError: see `Decoder.next`."""
    decoder = Decoder("picture", path, name)
    try:
        made = decoder.next()
    finally:
        decoder.close()
    if made is None:
        raise UserError(f"{name}: is not an image that can be read")
    return made[1]
