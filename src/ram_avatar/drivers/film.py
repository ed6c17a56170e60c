"""A video in place of the camera."""

import time
from pathlib import Path

import numpy as np

from ..core.errors import UserError
from ..video.untrusted import Decoder
from .driver import Driven, Driver
from .settings import Settings

_CATCHING_UP = 0.1  # seconds that may go into frames that are past already


class Film:
    """Plays a video in a loop, at its own rate; slower if it cannot be decoded as fast.

    Args:
        name, rotate: see `Decoder`.
    """

    def __init__(self, path: Path, name: str, rotate: int = 0):
        self._path, self._name, self._rotate = path, name, rotate
        self._decoder: Decoder | None = None
        self._started = 0.0
        self._shown = np.zeros((0, 0, 3), np.uint8)
        self._next: tuple[float, np.ndarray] | None = None

    def at(self, seconds: float) -> np.ndarray:
        """Return the frame [H, W, 3] uint8 that is due; `seconds` must not decrease.

        Raises:
            UserError: see `Decoder`.
        """
        decoder = self._decoder or self._start(seconds)
        until = time.monotonic() + _CATCHING_UP
        while self._next is not None and self._next[0] <= seconds - self._started:
            self._shown, self._next = self._next[1], decoder.next()
            if self._next is not None and time.monotonic() > until:
                self._started = seconds - self._next[0]
                break
        if self._next is None:
            self.close()
        return self._shown

    def _start(self, seconds: float) -> Decoder:
        self._decoder = Decoder("film", self._path, self._name, self._rotate)
        self._started = seconds
        try:
            self._next = self._decoder.next()
            if self._next is None:
                raise UserError(f"{self._name}: holds no video frames")
        except UserError:
            self.close()
            raise
        return self._decoder

    def close(self) -> None:
        """Stop decoding."""
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None


class FilmDriver:
    """Passes a film's frames to another driver in place of the camera's. See `driver.Driver` for the methods.

    Args:
        driver: follows the person in them.
    """

    takes_long = True

    def __init__(self, film: Film, driver: Driver):
        self._film, self._driver = film, driver

    def drive(self, rgb: np.ndarray | None, seconds: float) -> Driven:
        frame = self._film.at(seconds)
        driven = self._driver.drive(frame, seconds)
        driven.picture = frame
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
