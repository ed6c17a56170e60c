"""Drivers that need no camera: a motion, over and over, and an avatar that stands."""

import numpy as np
import torch

from ..avatar import Avatar
from ..body.anatomy import anatomy_of
from ..motion.motion import Frame, Motion
from .pipeline import Driven
from .protocol import Status


class PlayedMotion:
    """A motion that is on the avatar's own place already (`motion.retarget`), from its start to its end, again and
    again, at its own pace."""

    def __init__(self, motion: Motion):
        self._motion = motion
        self._started: float | None = None

    def index(self, seconds: float) -> int:
        """The frame that is due at a time."""
        if self._started is None:
            self._started = seconds
        return int((seconds - self._started) * self._motion.fps) % len(self._motion)

    def drive(self, rgb: np.ndarray | None, seconds: float) -> Driven:
        return Driven(self._motion.frame(self.index(seconds)), Status.PLAYING)

    def smooth(self, strength: float) -> None:
        pass  # a file is calm as it is

    def calibrate(self) -> None:
        pass

    def reset(self) -> None:
        self._started = None

    def close(self) -> None:
        pass


class Standing:
    """Stands, for what the sliders do."""

    def __init__(self, avatar: Avatar):
        self._frame = standing(avatar)

    def drive(self, rgb: np.ndarray | None, seconds: float) -> Driven:
        return Driven(self._frame, Status.PLAYING)

    def smooth(self, strength: float) -> None:
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
        confidence=np.ones(4),
    )
