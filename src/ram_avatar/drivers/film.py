"""A video in place of the camera."""

from pathlib import Path

import numpy as np

from ..core.errors import UserError
from ..video.untrusted import Decoder
from .driver import Driven, Driver
from .settings import Settings


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
