"""Drivers that need no camera: a motion in a loop, and an avatar that stands still."""

import time

import numpy as np
import torch

from ..avatar import Avatar
from ..body.anatomy import anatomy_of
from ..motion.motion import PARTS, Frame, Motion
from ..motion.retargeting.retarget import Person
from .driver import Driven, Status
from .live_retargeting import LiveRetargeter
from .settings import Settings


class PlayedMotion:
    """Plays a motion in a loop, at its own rate. See `driver.Driver` for the methods.

    Args:
        source: whose motion it is.
    """

    takes_long = False

    def __init__(self, motion: Motion, source: Person, avatar: Avatar):
        self._motion, self._source, self._avatar = motion, source, avatar
        self._settings = Settings()
        self._started: float | None = None
        self._index = -1  # of the frame shown; -1 before the first
        self._frame: Frame | None = None
        self._retargeter = self._new_retargeter()

    def index(self, seconds: float) -> int:
        """Return the number of the frame that is due."""
        if self._started is None:
            self._started = seconds
        return int((seconds - self._started) * self._motion.fps) % len(self._motion)

    def drive(self, rgb: np.ndarray | None, seconds: float) -> Driven:
        index, last = self.index(seconds), self._index
        if index == last:
            return Driven(self._frame, Status.PLAYING)
        if index < last:  # from the end to the start no foot may be held
            self._retargeter, last = self._new_retargeter(), index - 1
        passed = 1 if last < 0 else index - last
        started = time.perf_counter()
        self._frame = self._retargeter.step(self._motion.frame(index), passed / self._motion.fps)
        self._index = index
        return Driven(self._frame, Status.PLAYING, timings={"align": 1e3 * (time.perf_counter() - started)})

    def adjust(self, settings: Settings) -> None:
        self._settings = settings
        self._retargeter.adjust(settings)

    def calibrate(self) -> None:
        pass

    def reset(self) -> None:
        self._started, self._index, self._frame = None, -1, None
        self._retargeter = self._new_retargeter()

    def close(self) -> None:
        pass

    def _new_retargeter(self) -> LiveRetargeter:
        return LiveRetargeter(self._avatar, self._source, self._motion.fps, self._settings)


class Standing:
    """Stands still, so that only the sliders move the avatar. See `driver.Driver` for the methods."""

    takes_long = False

    def __init__(self, avatar: Avatar):
        self._frame = standing(avatar)

    def drive(self, rgb: np.ndarray | None, seconds: float) -> Driven:
        return Driven(self._frame, Status.PLAYING)

    def adjust(self, settings: Settings) -> None:
        pass

    def calibrate(self) -> None:
        pass

    def reset(self) -> None:
        pass

    def close(self) -> None:
        pass


@torch.no_grad()
def standing(avatar: Avatar) -> Frame:
    """Return the avatar at rest: where it stands in its own video, fingers relaxed, soles on the floor."""
    template = avatar.template
    anatomy = anatomy_of(template)
    pose = anatomy.to_pose(anatomy.relaxed)
    zero, neutral = torch.zeros(1, 3), torch.zeros(1, len(template.action_names))
    parameters = (each.to(avatar.device) for each in (zero, zero, pose[None], neutral))
    posed = template.body(avatar.identity).pose(*parameters)
    sole, place = float(posed.vertices[..., 2].min()), avatar.placement
    return Frame(
        root_rotation=np.zeros(3),
        root_translation=np.array([place.x, place.y, place.floor - sole]),
        pose=pose.double().numpy(),
        facial_actions=np.zeros(len(template.action_names)),
        confidence=np.ones(len(PARTS)),
    )
