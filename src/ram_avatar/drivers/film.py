"""Films and pictures from users, unpacked in another process (`decoding`)."""

import os
import select
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from ..core.errors import UserError
from ..live.session.decoding import HEAD, MAX_SIDE
from ..live.session.pipeline import Driven, Driver
from ..live.settings import Settings

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
            [sys.executable, "-m", "ram_avatar.live.session.decoding", kind, str(path), str(rotate)],
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


class Film:
    """A film at its own pace, over and over: the picture that is due.

    Args:
        name, rotate: see `Decoder`.
    """

    def __init__(self, path: Path, name: str, rotate: int = 0):
        self._path, self._name, self._rotate = path, name, rotate
        self._decoder: Decoder | None = None
        self._started = 0.0
        self._shown: np.ndarray | None = None
        self._coming: tuple[float, np.ndarray] | None = None

    def at(self, seconds: float) -> np.ndarray:
        """The picture [H, W, 3] uint8 that is due; `seconds` only go forward.

        Raises:
            UserError: see `Decoder`.
        """
        if self._decoder is None:
            self._start(seconds)
        while self._coming is not None and self._coming[0] <= seconds - self._started:
            self._shown, self._coming = self._coming[1], self._decoder.next()
        if self._coming is None:
            self._decoder.close()
            self._decoder = None
        return self._shown

    def _start(self, seconds: float) -> None:
        self._decoder = Decoder("film", self._path, self._name, self._rotate)
        self._started = seconds
        self._coming = self._decoder.next()
        if self._coming is None:
            raise UserError(f"{self._name}: holds no video frames")

    def close(self) -> None:
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None


class FilmDriver:
    """A film in the place of the camera.

    Args:
        driver: what drives from a camera's pictures.
    """

    takes_long = True

    def __init__(self, film: Film, driver: Driver):
        self._film, self._driver = film, driver

    def drive(self, rgb: np.ndarray | None, seconds: float) -> Driven:
        picture = self._film.at(seconds)
        driven = self._driver.drive(picture, seconds)
        driven.picture = picture
        return driven

    def adjust(self, settings: Settings) -> None:
        self._driver.adjust(settings)

    def calibrate(self) -> None:
        self._driver.calibrate()

    def reset(self) -> None:
        self._driver.reset()

    def close(self) -> None:
        self._film.close()
        self._driver.close()
