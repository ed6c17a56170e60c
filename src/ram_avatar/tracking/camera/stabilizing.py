"""Landmarks seen by a moving camera, as a fixed camera would have seen them."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..observations import Observations


def stabilized(observations: Observations, to_scene: np.ndarray) -> Observations:
    """Return the observations with landmarks moved from the pixels of their frames to those of the scene.

    Landmarks in metres turn with the image. Masks stay as they are.

    Args:
        to_scene: [N, 3, 3] pixels of frame n to pixels of the scene.
    """
    matrices = torch.from_numpy(np.asarray(to_scene)).float()
    x, y = matrices[:, 0, 0] + matrices[:, 1, 1], matrices[:, 1, 0] - matrices[:, 0, 1]
    angle = torch.atan2(y, x)[:, None]  # [N, 1] of its rotation, clockwise in the image
    zoom = matrices[:, :2, :2].det().abs().sqrt()[:, None, None]
    across, along, up = observations.pose_world.unbind(-1)
    world = [
        across * angle.cos() + up * angle.sin(),
        along,
        up * angle.cos() - across * angle.sin(),
    ]

    def spatial(points: Tensor) -> Tensor:
        return torch.cat([_moved(points[..., :2], matrices), points[..., 2:] * zoom], -1)

    return replace(
        observations,
        pose=_moved(observations.pose, matrices),
        pose_world=torch.stack(world, -1),
        left_hand=spatial(observations.left_hand),
        right_hand=spatial(observations.right_hand),
        face=spatial(observations.face),
    )


def _moved(points: Tensor, matrices: Tensor) -> Tensor:
    """Points [N, K, 2] through a homography each."""
    moved = torch.cat([points, torch.ones_like(points[..., :1])], -1) @ matrices.mT
    return moved[..., :2] / moved[..., 2:]
