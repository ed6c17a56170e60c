"""All of a frame, from its pose to its picture, in fixed shapes: what a GPU records as one graph.

Nothing in it depends on values or waits for the device. All that differs between frames is in one buffer of numbers
and one of background.
"""

import math
from itertools import accumulate

import numpy as np
import torch

from ..avatar import Avatar
from ..core.camera import Lens
from ..networks.opacity import CLEAR, OPAQUE
from ..rendering.frame_maps import FrameMapper
from ..rendering.inlay import averaged, composite, enlarge
from ..rendering.rectangles import Window
from .folding import FoldedNetwork
from .shot import Shot

_POSE = ("root_rotation", "root_translation", "pose", "facial_actions")  # the arguments of `Body.pose`, in order


class FrameProgram:
    """Renders any shot of one size.

    Args:
        network: on the avatar's device, in any precision.
        shot: any of those to render; all have its size, channels, `times` and `enlarged`.

    Attributes:
        numbers: [N] float32 buffer, see `numbers_of`.
        plate: [H, W, 3 or 4] uint8 buffer, `Shot.behind`.
        picture: [H, W, 3 or 4] uint8, the result.
    """

    def __init__(self, avatar: Avatar, mapper: FrameMapper, network: FoldedNetwork, shot: Shot):
        self._mapper, self._network = mapper, network
        self._times, self._enlarged = shot.times, shot.enlarged
        self._has_alpha, self._belief = avatar.network.config.alpha, float(network.belief)
        device, numbers = avatar.device, self.numbers_of(shot)
        self.numbers = torch.from_numpy(numbers).to(device)
        shapes = [np.shape(getattr(shot.frame, name)) for name in _POSE]
        self._shapes = [*((2, *shape) for shape in shapes), (3,), (3,), (3,)]
        ends = list(accumulate(math.prod(shape) for shape in self._shapes))
        self._slices = [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]
        self.plate = torch.zeros(shot.behind.shape, dtype=torch.uint8, device=device)
        self.picture = torch.zeros_like(self.plate)

    @staticmethod
    def numbers_of(shot: Shot) -> np.ndarray:
        """Return all numbers of a shot as one array [N] float32."""
        width, height = shot.size
        finer = shot.inlay.times(shot.times)
        lenses = [shot.camera, finer.camera(shot.camera, Window(0, 0, height * shot.times, width * shot.times))]
        poses = shot.frame, shot.previous or shot.frame
        values = [np.stack([getattr(pose, name) for pose in poses]) for name in _POSE]
        values += [np.array(lens.intrinsics) for lens in lenses]
        values.append(np.array([finer.zoom, finer.left, finer.top]))
        return np.concatenate([value.ravel() for value in values]).astype(np.float32)

    @torch.no_grad()
    def run(self) -> None:
        """Render what the buffers say into `picture`."""
        mapper, side = self._mapper, self._mapper.camera.height
        height, width = (self._times * edge for edge in self.picture.shape[:2])
        given = [self.numbers[part].view(shape) for part, shape in zip(self._slices, self._shapes, strict=True)]
        lens, shown_lens, inlay = given[len(_POSE) :]
        through, both = Lens(lens, side, side), mapper.body.pose(*given[: len(_POSE)])
        posed, before = both[:1], both[1:]
        maps, _ = mapper.draw(posed, through)
        previous = mapper.position(before, through) if self._network.attends_to_previous else None
        painting = self._network(maps, previous)
        surface = mapper.surface(posed, Lens(shown_lens, width, height))
        picture = self.plate
        if self._times > 1:
            picture = picture.repeat_interleave(self._times, 0).repeat_interleave(self._times, 1)
        shown = picture.clone()
        composite(
            shown,
            enlarge(painting, inlay, width, height),
            surface,
            has_alpha=self._has_alpha,
            belief=self._belief,
            enlarged=self._enlarged,
            shown=(CLEAR, OPAQUE),
        )
        self.picture.copy_(averaged(shown, self._times))
