"""Where the offline fit starts: the place and orientation that the torso's landmarks suggest, and a relaxed pose."""

import roma
import torch
from torch import Tensor
from torch.nn import functional as F

from ...body.anatomy import Anatomy
from ...body.template import BodyTemplate
from ...core.camera import Camera
from ..detection.topology import TORSO
from ..observations import Observations
from .clip_energy import Variables

_NEUTRAL = -3.0  # logit of a facial action: nearly none


def root_orientation(template: BodyTemplate, seen: Observations) -> Tensor:
    """Return how the trunk is turned [N, 3, 3], roughly, by the detector's own depth.

    Frames without the person take the nearest frame that shows them.
    """
    hips, chest, across = _trunk(template)
    left_shoulder, right_shoulder, left_hip, right_hip = (seen.pose_world[:, i] for i in seen.topology.indices(TORSO))
    left = left_shoulder + left_hip - right_shoulder - right_hip
    up = left_shoulder + right_shoulder - left_hip - right_hip
    turned = _axes(left, up) @ _axes(across[None], (chest - hips)[None]).mT
    return turned[_nearest(seen)]


def initial_variables(
    template: BodyTemplate, seen: Observations, anatomy: Anatomy, camera: Camera, turned: Tensor
) -> Variables:
    """Return a relaxed average body at the person's place.

    Args:
        turned: [N, 3, 3] from `root_orientation`.
    """
    frames, default = len(seen), template.default_identity()
    hips, chest, _ = _trunk(template)
    low, high = template.body(default).reference_vertices()[:, 2].aminmax()
    distance = camera.focal * (float(high) - float(low)) / seen.person_height
    middle = seen.pose[:, seen.topology.indices(TORSO)].mean(1)[_nearest(seen)]
    centre = camera.unproject(middle, torch.full((frames,), distance))
    return Variables(
        angles=anatomy.relaxed.repeat(frames, 1, 1),
        root_rotation=_unwrap(roma.rotmat_to_rotvec(turned)),
        root_translation=centre - (turned @ ((hips + chest) / 2)),
        actions=torch.full((frames, len(template.action_names)), _NEUTRAL),
        identity=template.identity_range.to_free(default),
    ).trainable()


def _trunk(template: BodyTemplate) -> tuple[Tensor, Tensor, Tensor]:
    """Midpoints of the hips and of the shoulders, and the vector from the right hip to the left one, all [3].

    Of an average body in the reference pose.
    """
    reference = template.body(template.default_identity()).at_reference().joints[0, :, :3, 3]

    def at(role: str) -> Tensor:
        return reference[template.joint_of(role)]

    hips = (at("thigh.L") + at("thigh.R")) / 2
    chest = (at("upper_arm.L") + at("upper_arm.R")) / 2
    return hips, chest, at("thigh.L") - at("thigh.R")


def _nearest(seen: Observations) -> Tensor:
    """[N] the nearest frame in which the person is seen."""
    known = seen.seen["body"].nonzero().flatten()
    return known[(torch.arange(len(seen))[:, None] - known[None]).abs().argmin(1)]


def _axes(left: Tensor, up: Tensor) -> Tensor:
    """Rotations [N, 3, 3] whose columns are left, up made orthogonal, and their cross product."""
    left = F.normalize(left, dim=-1)
    up = F.normalize(up - (up * left).sum(-1, keepdim=True) * left, dim=-1)
    return torch.stack([left, up, torch.linalg.cross(left, up)], -1)


def _unwrap(rotation: Tensor) -> Tensor:
    """Rotation vectors [N, 3] without jumps of a whole turn between frames."""
    rotation = rotation.clone()
    for i in range(1, len(rotation)):
        angle = rotation[i].norm().clamp(min=1e-3)
        other = rotation[i] * (1 - 2 * torch.pi / angle)
        if (other - rotation[i - 1]).norm() < (rotation[i] - rotation[i - 1]).norm():
            rotation[i] = other
    return rotation
