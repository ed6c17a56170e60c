"""Drivers that need no camera: a motion, over and over, and an avatar that stands."""

import time

import numpy as np
import torch

from ..avatar import Avatar
from ..body.anatomy import anatomy_of
from ..motion.motion import PARTS, Frame, Motion
from ..motion.retargeting.retarget import Person
from .driver import Driven, Status
from .live_retargeting import Carrier
from .settings import Settings


class PlayedMotion:
    """A motion from its start to its end, again and again, at its own pace.

    Args:
        source: whose motion it is.
    """

    takes_long = False

    def __init__(self, motion: Motion, source: Person, avatar: Avatar):
        self._motion, self._source, self._avatar = motion, source, avatar
        self._settings = Settings()
        self.reset()

    def index(self, seconds: float) -> int:
        """The frame that is due at a time."""
        if self._started is None:
            self._started = seconds
        return int((seconds - self._started) * self._motion.fps) % len(self._motion)

    def drive(self, rgb: np.ndarray | None, seconds: float) -> Driven:
        index = self.index(seconds)
        if index != self._index:
            if self._index is None or index < self._index:  # from the end to the start no foot slides along
                self._carrier = Carrier(self._avatar, self._source, self._motion.fps, self._settings)
            passed = 1 if self._index is None else max(1, index - self._index)
            started = time.perf_counter()
            self._frame = self._carrier.step(self._motion.frame(index), passed / self._motion.fps)
            self._index, spent = index, time.perf_counter() - started
            return Driven(self._frame, Status.PLAYING, timings={"align": 1e3 * spent})
        return Driven(self._frame, Status.PLAYING)

    def adjust(self, settings: Settings) -> None:
        self._settings = settings
        if self._carrier is not None:
            self._carrier.adjust(settings)

    def calibrate(self) -> None:
        pass

    def reset(self) -> None:
        self._started: float | None = None
        self._index: int | None = None
        self._frame: Frame | None = None
        self._carrier: Carrier | None = None

    def close(self) -> None:
        pass


class Standing:
    """Stands, for what the sliders do."""

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
    """The avatar at rest where it stands in its own video, fingers relaxed, soles on its floor."""
    template = avatar.template
    anatomy = anatomy_of(template)
    pose = anatomy.to_pose(anatomy.relaxed)
    nowhere, calm = torch.zeros(1, 3), torch.zeros(1, len(template.action_names))
    parameters = (each.to(avatar.device) for each in (nowhere, nowhere, pose[None], calm))
    posed = template.body(avatar.identity).pose(*parameters)
    sole, place = float(posed.vertices[..., 2].min()), avatar.placement
    return Frame(
        root_rotation=np.zeros(3),
        root_translation=np.array([place.x, place.y, place.floor - sole]),
        pose=pose.double().numpy(),
        facial_actions=np.zeros(len(template.action_names)),
        confidence=np.ones(len(PARTS)),
    )
