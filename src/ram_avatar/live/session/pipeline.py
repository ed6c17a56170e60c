"""A pipeline: from a camera image to an image of the avatar, in two halves, driving and painting."""

import os
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from ...drivers.driver import Driven, Driver, Status, timed
from ...drivers.settings import Settings
from ...motion.motion import Frame
from ...rendering.visible_mark import mark
from .background import Background
from .manual_control import ManualControl


class Renderer(Protocol):
    """Renders the avatar, one frame at a time and in order, since the network also sees the previous frame."""

    def render(self, frame: Frame) -> np.ndarray:
        """Return [H, W, 4] uint8 with straight alpha, or [H, W, 3] for an avatar without opacity."""
        ...

    def reset(self) -> None:
        """Start a new clip: the next frame has no previous one."""
        ...


@dataclass
class RenderedFrame:
    """The result for one camera frame."""

    rgba: np.ndarray  # [H, W, 4] uint8, straight alpha
    rgb: np.ndarray  # [H, W, 3] uint8, over the chosen background
    status: Status
    landmarks: np.ndarray  # [N, 2] relative to the camera image's width and height; NaN if not seen; see `overlay`
    timings: dict[str, float]  # milliseconds, by `protocol.STAGES`
    driving: np.ndarray | None = None  # [H, W, 3] uint8: the driving image, if the page does not have it


class Pipeline(Protocol):
    """Everything between the camera image and the avatar's image.

    `drive` and `paint` may run in parallel, each for another frame. No other methods run in parallel.
    """

    settings: Settings
    background: Background

    @property
    def side_by_side(self) -> bool:
        """Whether to drive the next frame while one is painted: more frames, each of them a little later."""
        ...

    def drive(self, rgb: np.ndarray | None, seconds: float) -> Driven:
        """Return the avatar's pose for a camera image, see `Driver.drive`."""
        ...

    def paint(self, driven: Driven) -> RenderedFrame:
        """Render the avatar."""
        ...

    def use(self, driver: Driver) -> None:
        """Replace the driver, from the next frame on."""
        ...

    def calibrate(self) -> None:
        """Have the driver learn the person's build."""
        ...

    def reset(self) -> None:
        """Return to the initial pose and forget the person."""
        ...

    def close(self) -> None:
        """Release the driver."""
        ...


class AvatarPipeline:
    """A driver, sliders, a renderer and a background.

    Args:
        start: the frame to show until the driver gives one.
        marked: draw a small mark on every image, see `rendering.visible_mark`.
    """

    def __init__(
        self,
        renderer: Renderer,
        driver: Driver,
        *,
        start: Frame,
        background: Background,
        manual: ManualControl,
        marked: bool = False,
    ):
        self.background = background
        self._renderer, self._driver = renderer, driver
        self._manual, self._marked = manual, marked
        self._start = self._latest = start
        self._settings = Settings()
        self._threads = torch.get_num_threads()

    @property
    def settings(self) -> Settings:
        """The state of the page's controls."""
        return self._settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        self._settings = settings
        self._driver.adjust(settings)

    def use(self, driver: Driver) -> None:
        """Replace the driver, from the next frame on; the previous one is closed."""
        self._driver.close()
        self._driver = driver
        self._driver.adjust(self._settings)

    @property
    def side_by_side(self) -> bool:
        """Whether to drive the next frame while one is painted."""
        return self._driver.takes_long and (os.cpu_count() or 1) > 1

    def drive(self, rgb: np.ndarray | None, seconds: float) -> Driven:
        """Return the avatar's pose for a camera image, see `Driver.drive`."""
        return self._driver.drive(rgb, seconds)

    def paint(self, driven: Driven) -> RenderedFrame:
        """Render the avatar. While the person is lost it keeps its latest pose."""
        timings, settings = dict(driven.timings), self._settings
        if driven.frame is not None:
            self._latest = driven.frame
        frame = self._manual(self._latest, settings)
        # The count is per thread, and painting has its own: leave one core to the driver.
        torch.set_num_threads(max(1, self._threads - self.side_by_side))
        with timed(timings, "render"):
            rgba = _with_opacity(self._renderer.render(frame))
            if self._marked:
                rgba = mark(rgba)
            rgb = self.background.composite(rgba, settings.background)
        return RenderedFrame(rgba, rgb, driven.status, driven.landmarks, timings, driven.picture)

    def calibrate(self) -> None:
        """Have the driver learn the person's build."""
        self._driver.calibrate()

    def reset(self) -> None:
        """Return to the initial pose and forget the person, for the next user."""
        self._latest = self._start
        self._renderer.reset()
        self._driver.reset()

    def close(self) -> None:
        """Close the driver."""
        self._driver.close()


def _with_opacity(image: np.ndarray) -> np.ndarray:
    """Return [H, W, 4]; an image without opacity is opaque."""
    if image.shape[2] == 4:
        return image
    return np.concatenate([image, np.full_like(image[..., :1], 255)], 2)
