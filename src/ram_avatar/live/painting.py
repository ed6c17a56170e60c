"""An avatar's network, one frame at a time."""

import numpy as np
import torch
from torch import Tensor

from ..avatar import Avatar
from ..motion.motion import Frame, Motion
from ..networks.avatar_network import ConditionMaps
from ..pictures import to_array
from ..rendering.condition_maps import ConditionMapper


class NetworkRenderer:
    """Paints an avatar frame by frame, as `Avatar.render` does a whole motion."""

    def __init__(self, avatar: Avatar):
        self._avatar = avatar
        self._mapper = ConditionMapper(avatar.template, avatar.identity, avatar.camera, avatar.texture)
        self._previous: Tensor | None = None

    def reset(self) -> None:
        """The next frame has none before it."""
        self._previous = None

    @torch.no_grad()
    def render(self, frame: Frame) -> np.ndarray:
        """[S, S, 4] uint8, straight. An avatar that was learned with its background is opaque throughout."""
        avatar = self._avatar
        motion = Motion.of_frames(avatar.template.name, avatar.fps, [frame]).map(lambda t: t.to(avatar.device))
        maps = self._mapper(motion)
        before = maps.position if self._previous is None else self._previous
        self._previous = maps.position
        made = avatar.network(ConditionMaps(previous=before, **vars(maps)))
        return to_array(torch.cat([made.color, 2 * made.alpha - 1], 1))[0]
