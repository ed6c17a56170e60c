"""What an engine asks of its renderer: one frame, seen through one close-up, over one background."""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..core.camera import Camera
from ..motion.motion import Frame
from ..rendering.inlay import Inlay

SAME = 1e-6  # the size that a close-up is painted and shown at, up to rounding
_MOST_TIMES = 16  # see `Shot.times`


@dataclass(frozen=True)
class Shot:
    """A frame to render."""

    frame: Frame
    previous: Frame | None
    """The frame before, which this one attends to; None at the start of a clip."""
    camera: Camera
    """It sees the close-up as the network paints it."""
    inlay: Inlay
    """Where the close-up lies in the picture."""
    behind: np.ndarray
    """[H, W, 3] uint8 the background, or [H, W, 4] of zeros; shared between shots, so not to be written to."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture."""
        height, width = self.behind.shape[:2]
        return width, height

    @property
    def times(self) -> int:
        """How many times as large to draw the person before shrinking them.

        More than once if they are painted with more pixels than are shown.
        """
        return min(_MOST_TIMES, max(1, math.ceil(1 / self.inlay.zoom - SAME)))

    @property
    def enlarged(self) -> bool:
        """Whether the person is then larger than they are painted; see `painting.compose`."""
        return self.inlay.times(self.times).zoom > 1 + SAME


class Renderer(Protocol):
    """Renders shots on one kind of device."""

    timings: dict[str, float]
    """Duration of each stage of the last frame, seconds; empty before the first."""
    ahead: int
    """How many shots may be submitted before the first of them is collected, besides it."""

    def submit(self, shot: Shot) -> None:
        """Start to render a shot."""
        ...

    def collect(self) -> np.ndarray:
        """Return the picture of the earliest shot that was not collected, [H, W, 3 or 4] uint8."""
        ...
