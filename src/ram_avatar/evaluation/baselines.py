"""Frames of the simple baselines that an avatar is compared with."""

from collections.abc import Iterator

import numpy as np
import torch

from ..avatar import Avatar
from ..capture.dataset import CaptureDataset
from ..core.camera import Camera
from ..core.images import to_array, to_tensor
from ..motion.motion import Motion
from ..rendering.condition_maps import ConditionMapper


def textured_mesh(avatar: Avatar, motion: Motion, size: int) -> Iterator[np.ndarray]:
    """Yield close-ups [size, size, 3] uint8 of the textured mesh over the plate: the warm start, without a network."""
    mapper = ConditionMapper(avatar.dressed, avatar.identity, Camera.default(size, size), avatar.texture)
    for frame in motion.batches(1):
        square = avatar.framing.square(frame.root_translation[0].cpu().numpy())
        posed = mapper.body.pose(*frame.map(lambda t: t.to(avatar.device)).parameters())
        color, covered = mapper.surface(posed, square.camera(avatar.camera, size)).split([3, 1], 1)
        plate = to_tensor(square.cut(avatar.background, size)).to(avatar.device)
        yield from to_array(color * covered + plate * (1 - covered))


def nearest_frame(data: CaptureDataset) -> Iterator[np.ndarray]:
    """Yield, for each held-out close-up, the training close-up [S, S, 3] uint8 with the nearest projected joints."""
    joints, trained = data.joints.flatten(1), data.capture.train_frames
    for nearest in torch.cdist(joints[data.capture.held_out], joints[trained]).argmin(1).tolist():
        yield data.frames[trained[nearest]].numpy()
