"""Feet and the floor.

The template's feet are rigid, while most skeletons' bend at the ball: when a heel lifts, the toes of a rigid foot would
sink into the floor.
"""

from dataclasses import replace

import roma
import torch
from torch import Tensor

from ..motion import Motion
from .calibration import Reference
from .template_skeleton import TemplateSkeleton

_AT_ONCE = 2048  # frames
_LOW, _SLOW = 0.5, 0.3  # standing feet: the lower half of ankle heights, and of those the slowest 30 %
_FLOOR = 0.25  # quantile of standing soles' heights that is the floor; ground and measurements are uneven
_MOST = 0.7  # radians; the largest lift of a foot's front
# Fractions of the ankle's height in the reference pose over which lifting fades out: a foot far below the floor stands
# on some other ground.
_BELOW, _ABOVE = 0.3, 0.8


@torch.no_grad()
def find_floor(motion: Motion, reference: Reference) -> float:
    """Estimate the height of the floor (z, metres) from the soles of feet that are low and slow."""
    ankle_parts, sole_parts = [], []
    skeleton = TemplateSkeleton(reference)
    for part in motion.batches(_AT_ONCE):
        turns, positions = skeleton.clip(part).forward()
        feet = [skeleton.joint_of(f"foot.{side}") for side in "LR"]
        ankle_parts.append(positions[:, feet])
        lowest = [(turns[:, foot, 2] @ sole.T).amin(1) for foot, sole in zip(feet, reference.soles, strict=True)]
        sole_parts.append(positions[:, feet, 2] + torch.stack(lowest, 1))
    ankles, soles = torch.cat(ankle_parts), torch.cat(sole_parts)  # [N, 2, 3], [N, 2]
    steps = ankles.diff(dim=0).norm(dim=-1)
    still = steps.new_zeros(1, 2)
    speed = torch.maximum(torch.cat([still, steps]), torch.cat([steps, still]))
    low = ankles[..., 2] <= _quantile(ankles[..., 2], _LOW)
    slow = speed <= _quantile(speed[low], _SLOW)
    return float(_quantile(soles[low & slow], _FLOOR))


@torch.no_grad()
def lift_toes(motion: Motion, reference: Reference, floor: float = 0.0) -> Motion:
    """Rotate feet up at the ankle until their front is no longer below the floor (z, metres)."""
    skeleton, pose = TemplateSkeleton(reference), motion.pose.clone()
    roles = reference.template.pose_roles
    for start in range(0, len(motion), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        turns, positions = skeleton.clip(motion[part]).forward()
        for side, sole in zip("LR", reference.soles, strict=True):
            joint = skeleton.joint_of(f"foot.{side}")
            foot, shin = turns[:, joint], turns[:, skeleton.parents[joint]]
            front = sole[sole[:, 1] < 0.5 * sole[:, 1].min()]  # ball and toes
            lift = _lift(foot, positions[:, joint, 2] - floor, front, -float(sole[:, 2].min()))
            pose[part, roles.index(f"foot.{side}")] = roma.rotmat_to_rotvec(shin.mT @ lift @ foot)
    return replace(motion, pose=pose)


def _quantile(values: Tensor, share: float) -> Tensor:
    """Return the value that a fraction of the values lies below. Unlike `Tensor.quantile`, takes any number of them."""
    return values.flatten().kthvalue(1 + int(share * (values.numel() - 1))).values


def _lift(foot: Tensor, height: Tensor, points: Tensor, rest: float) -> Tensor:
    """Return rotations [N, 3, 3] of feet about level axes that bring their front up to the floor.

    Args:
        foot: [N, 3, 3] orientation of the foot.
        height: [N] of the ankle above the floor.
        points: [K, 3] of the foot, from the ankle, that must not be below the floor.
        rest: height of the ankle of a standing foot.
    """
    level = foot.new_tensor([1.0, 1.0, 0.0])
    across = torch.nn.functional.normalize(foot[:, :, 0] * level, dim=-1)  # to the left
    ahead = torch.linalg.cross(across, foot.new_tensor([0.0, 0.0, 1.0]).expand_as(across))
    arms = points @ foot.mT  # [N, K, 3]
    away, up = (arms @ ahead[..., None])[..., 0], arms[..., 2]
    length = torch.hypot(away, up).clamp(min=1e-6)
    # Rotated by an angle about a level axis, a point at elevation e moves to height + length * sin(e + angle).
    needed = torch.asin((-height[:, None] / length).clamp(-1, 1)) - torch.atan2(up, away)
    needed = needed.where(away > 0, 0.0)  # lifting the toes cannot raise points behind the ankle
    trust = ((height / rest - _BELOW) / (_ABOVE - _BELOW)).clamp(0, 1)
    angle = trust * needed.amax(1).clamp(0, _MOST)
    return roma.rotvec_to_rotmat(-angle[:, None] * across)
