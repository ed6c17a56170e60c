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

_PATIENCE = 20.0  # seconds without a picture, then the process is given up


class Decoder:
    """The pictures of one file, from its start to its end.

    Args:
        kind: "film" or "picture".
        name: what the user calls the file, for messages.
        rotate: degrees clockwise to turn a film's pictures by, see `video.probe`.
    """

    def __init__(self, kind: str, path: Path, name: str, rotate: int = 0):
        self._name, self._path = name, path
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ram_avatar.video.sandbox", kind, str(path), str(rotate)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is the parent's business
        )

    def next(self) -> tuple[float, np.ndarray] | None:
        """Seconds from the start and the picture [H, W, 3] uint8; None at the end.

        Raises:
            UserError: the file is damaged, no film or picture, or takes more than it may.
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
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        self._process.stderr.close()

    def _read(self, count: int) -> bytes:
        """`count` bytes; none at the end of the pictures."""
        parts, stdout = bytearray(), self._process.stdout.fileno()
        until = time.monotonic() + _PATIENCE
        while len(parts) < count:
            ready, _, _ = select.select([stdout], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise UserError(f"{self._name}: decoding takes too long; it is given up")
            part = os.read(stdout, count - len(parts))
            if not part:
                if parts:
                    raise UserError(self._complaint(self._process.wait()))
                return b""
            parts += part
        return bytes(parts)

    def _complaint(self, code: int) -> str:
        lines = self._process.stderr.read().decode(errors="replace").strip().splitlines()
        if code == 2 and lines:
            return lines[-1].replace(str(self._path), self._name)
        return f"{self._name}: cannot be decoded within the limits on time and memory"


def read_untrusted_picture(path: Path, name: str) -> np.ndarray:
    """A picture [H, W, 3] uint8 of a user's; raises UserError, see `Decoder`."""
    decoder = Decoder("picture", path, name)
    try:
        made = decoder.next()
    finally:
        decoder.close()
    if made is None:
        raise UserError(f"{name}: is not a picture that can be read")
    return made[1]
