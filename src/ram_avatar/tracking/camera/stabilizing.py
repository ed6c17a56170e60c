"""What a moving camera saw, as a standing one would have seen it."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..observations import Observations


def stabilized(observations: Observations, to_scene: np.ndarray) -> Observations:
    """Bring landmarks from the pixels of their frames to those of the scene.

    Landmarks in metres turn with the picture. Masks stay as they are.

    Args:
        to_scene: [N, 3, 3] pixels of frame n to pixels of the scene.
    """
    matrices = torch.from_numpy(np.asarray(to_scene)).float()
    x, y = matrices[:, 0, 0] + matrices[:, 1, 1], matrices[:, 1, 0] - matrices[:, 0, 1]
    angle = torch.atan2(y, x)[:, None]  # [N, 1] of the turn in it, clockwise in the picture
    zoom = matrices[:, :2, :2].det().abs().sqrt()[:, None, None]
    across, along, up = observations.pose_world.unbind(-1)
    world = [
        across * angle.cos() + up * angle.sin(),
        along,
        up * angle.cos() - across * angle.sin(),
    ]
    parts = {}
    for name in ("left_hand", "right_hand", "face"):
        points = getattr(observations, name)
        parts[name] = torch.cat([_moved(points[..., :2], matrices), points[..., 2:] * zoom], -1)
    return replace(observations, pose=_moved(observations.pose, matrices), pose_world=torch.stack(world, -1), **parts)


def _moved(points: Tensor, matrices: Tensor) -> Tensor:
    """[N, K, 2] points through a homography each."""
    moved = torch.cat([points, torch.ones_like(points[..., :1])], -1) @ matrices.mT
    return moved[..., :2] / moved[..., 2:]
