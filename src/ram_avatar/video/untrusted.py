"""Untrusted videos and images, decoded in a confined process (`sandbox`)."""

import os
import select
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from ..core.errors import UserError
from .sandbox import HEAD, MAX_SIDE

_PATIENCE = 20.0  # seconds to wait for a frame before giving up


class Decoder:
    """Decodes the frames of one file, in order.

    Args:
        kind: "film" or "picture".
        name: the user's name for the file, for messages.
        rotate: degrees clockwise by which to turn a film's frames, see `video.probe`.
    """

    def __init__(self, kind: str, path: Path, name: str, rotate: int = 0):
        self._name, self._path = name, path
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ram_avatar.video.sandbox", kind, str(path), str(rotate)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # the parent handles Ctrl-C
        )
        assert self._process.stdout is not None and self._process.stderr is not None  # pipes, see above
        self._stdout, self._stderr = self._process.stdout, self._process.stderr

    def next(self) -> tuple[float, np.ndarray] | None:
        """Return the seconds from the start and the frame [H, W, 3] uint8; None at the end.

        Raises:
            UserError: the file is damaged, not a film or image, or exceeds the limits.
        """
        head = self._read(HEAD.size)
        if not head:
            code = self._process.wait()
            if code:
                raise UserError(self._complaint(code))
            return None
        seconds, width, height = HEAD.unpack(head)
        if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
            raise UserError(f"{self._name}: cannot be decoded")
        return seconds, np.frombuffer(self._read(3 * width * height), np.uint8).reshape(height, width, 3)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._stdout.close()
        self._stderr.close()

    def _read(self, count: int) -> bytes:
        """Read exactly `count` bytes; none at the end of the file."""
        parts, stdout = bytearray(), self._stdout.fileno()
        until = time.monotonic() + _PATIENCE
        while len(parts) < count:
            ready, _, _ = select.select([stdout], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise UserError(f"{self._name}: decoding takes too long")
            part = os.read(stdout, count - len(parts))
            if not part:
                if parts:
                    raise UserError(self._complaint(self._process.wait()))
                return b""
            parts += part
        return bytes(parts)

    def _complaint(self, code: int) -> str:
        """Return the message for an exit code."""
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        if code == 2 and lines:
            return lines[-1].replace(str(self._path), self._name)
        return f"{self._name}: cannot be decoded within the limits on time and memory"


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
