"""What is simpler than an avatar, as frames of the same motion."""

from collections.abc import Iterator

import numpy as np
import torch

from ..avatar import Avatar
from ..motion.motion import Motion
from ..pictures import to_array, to_tensor
from ..rendering.condition_maps import ConditionMapper
from ..training.dataset import CaptureDataset

_DRAWN_AT_ONCE = 8


def textured_mesh(avatar: Avatar, motion: Motion) -> Iterator[np.ndarray]:
    """The warm start as it is, without a network: frames [S, S, 3] uint8 of the texture over the plate."""
    mapper = ConditionMapper(avatar.template, avatar.identity, avatar.camera, avatar.texture)
    plate = to_tensor(avatar.background).to(avatar.device)
    for part in motion.batches(_DRAWN_AT_ONCE):
        maps = mapper(part.map(lambda t: t.to(avatar.device)))
        covered = maps.position[:, 3:]
        yield from to_array(maps.color * covered + plate * (1 - covered))


def nearest_frame(data: CaptureDataset) -> Iterator[np.ndarray]:
    """For each held-out frame, the training frame [S, S, 3] uint8 whose posed joints lie nearest in the picture."""
    joints, trained = data.joints.flatten(1), data.capture.train_frames
    for place in torch.cdist(joints[data.capture.held_out], joints[trained]).argmin(1).tolist():
        yield data.frames[trained[place]].numpy()
