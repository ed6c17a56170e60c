"""From a camera frame to a picture of the avatar, in two halves: what a session calls, once per frame."""

import os
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from ...drivers.driver import Driven, Driver, Status, timed
from ...drivers.settings import Settings
from ...motion.motion import Frame
from ...rendering.visible_mark import mark
from ..manual import ManualControl
from .backdrop import Backdrop


class Renderer(Protocol):
    """Paints the avatar; one at a time, in order, since the network looks back at the frame before."""

    def render(self, frame: Frame) -> np.ndarray:
        """[H, W, 4] uint8: straight colours and opacity. Or [H, W, 3], of an avatar that has no opacity."""
        ...

    def reset(self) -> None:
        """Another clip begins: the next frame has none before it."""
        ...


@dataclass
class Shown:
    """What came of one frame."""

    rgba: np.ndarray  # [H, W, 4] uint8, straight
    rgb: np.ndarray  # [H, W, 3] uint8, over the background that is set
    status: Status
    landmarks: np.ndarray  # [N, 2] share of the camera picture's width and height, NaN where not seen; `overlay`
    timings: dict[str, float]  # milliseconds, by `protocol.STAGES`
    driving: np.ndarray | None = None  # [H, W, 3] uint8: the picture that drives, where the page does not have it


class Pipeline(Protocol):
    """All that lies between the two pictures.

    `drive` and `paint` may run side by side, each for another frame; nothing else runs beside either of them.
    """

    settings: Settings

    @property
    def side_by_side(self) -> bool:
        """Whether to drive the next frame while one is painted: more frames, each of them a little later."""
        ...

    def drive(self, rgb: np.ndarray | None, seconds: float) -> Driven: ...

    def paint(self, driven: Driven) -> Shown: ...

    def calibrate(self) -> None: ...

    def reset(self) -> None: ...

    def close(self) -> None: ...


class AvatarPipeline:
    """A driver, the sliders, a renderer and a background.

    Args:
        driver: may be exchanged by `use` while the session runs.
        start: the frame to show until the driver gives one.
        marked: draw a small mark on every picture, see `rendering.marking`.
    """

    def __init__(
        self,
        renderer: Renderer,
        driver: Driver,
        *,
        start: Frame,
        backdrop: Backdrop,
        manual: ManualControl,
        marked: bool = False,
    ):
        self.backdrop = backdrop
        self._renderer, self._driver = renderer, driver
        self._manual, self._marked = manual, marked
        self._start = self._last = start
        self._settings = Settings()
        self._threads = torch.get_num_threads()

    @property
    def settings(self) -> Settings:
        return self._settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        self._settings = settings
        self._driver.adjust(settings)

    def use(self, driver: Driver) -> None:
        """Another driver from the next frame on; the one so far is closed."""
        self._driver.close()
        self._driver = driver
        self._driver.adjust(self._settings)

    @property
    def side_by_side(self) -> bool:
        return self._driver.takes_long and (os.cpu_count() or 1) > 1

    def drive(self, rgb: np.ndarray | None, seconds: float) -> Driven:
        """How the avatar shall stand at one moment, see `Driver.drive`."""
        return self._driver.drive(rgb, seconds)

    def paint(self, driven: Driven) -> Shown:
        """The avatar at one moment. While the person is lost it keeps its last pose."""
        timings, settings = dict(driven.timings), self._settings
        if driven.frame is not None:
            self._last = driven.frame
        frame = self._manual(self._last, settings)
        # In a thread of its own this is that thread's alone: what drives keeps a core to itself.
        torch.set_num_threads(max(1, self._threads - self.side_by_side))
        with timed(timings, "render"):
            rgba = _with_opacity(self._renderer.render(frame))
            if self._marked:
                rgba = mark(rgba)
            over = self.backdrop.behind(rgba, settings.background)
        return Shown(rgba, over, driven.status, driven.landmarks, timings, driven.picture)

    def calibrate(self) -> None:
        self._driver.calibrate()

    def reset(self) -> None:
        """Back to the first pose, for the next session."""
        self._last = self._start
        self._renderer.reset()
        self._driver.reset()

    def close(self) -> None:
        self._driver.close()


def _with_opacity(picture: np.ndarray) -> np.ndarray:
    """[H, W, 4], opaque where the picture does not say."""
    if picture.shape[2] == 4:
        return picture
    return np.concatenate([picture, np.full_like(picture[..., :1], 255)], 2)
