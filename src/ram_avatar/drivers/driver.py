"""What a driver is: the protocol, and what a driver says of one moment."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

import numpy as np

from ..motion.motion import Frame
from .settings import Settings


class Status(IntEnum):
    """How a driver sees the person. The numbers go over the live websocket."""

    WAITING = 0  # nobody seen yet
    SEEN = 1
    LOST = 2  # the avatar stands still until the person is back
    CALIBRATING = 3
    PLAYING = 4  # a motion file or the sliders alone drive


@dataclass
class Driven:
    """What a driver makes of one moment."""

    frame: Frame | None  # on the avatar's own scale and place; None where nothing changed
    status: Status
    landmarks: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))  # [N, 2], see `overlay`; NaN where not seen
    timings: dict[str, float] = field(default_factory=dict)  # milliseconds by stage
    picture: np.ndarray | None = None  # [H, W, 3] uint8: the driving image, where it is not the camera's


class Driver(Protocol):
    """Says how the avatar poses, moment by moment: a camera, a video, a motion file, another program.

    Attributes:
        takes_long: driving a frame takes about as long as rendering one, so running the two in parallel pays off.
    """

    takes_long: bool

    def drive(self, rgb: np.ndarray | None, seconds: float) -> Driven:
        """Return the avatar's frame for a camera image.

        Args:
            rgb: [H, W, 3] uint8; None where no camera runs. An image without a person gives no frame and says LOST.
            seconds: when it was taken, on a clock that only moves forward.
        """
        ...

    def adjust(self, settings: Settings) -> None:
        """Apply the controls for mirroring, smoothing and alignment from the next frame on."""
        ...

    def calibrate(self) -> None:
        """Learn the person's build from the next frames, in which they stand still."""
        ...

    def reset(self) -> None:
        """Forget the person: another one, or another video, follows."""
        ...

    def close(self) -> None:
        """Release files, sockets, threads and processes."""
        ...


@contextmanager
def timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    """Add the milliseconds that the block takes to `timings[stage]`."""
    started = time.perf_counter()
    yield
    timings[stage] = timings.get(stage, 0.0) + 1e3 * (time.perf_counter() - started)
