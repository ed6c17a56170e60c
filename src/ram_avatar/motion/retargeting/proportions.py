"""A pose on a body of other proportions: the same rotations, corrected so that bones point where the driver's do.

Bodies of one template share their joints, but in the reference pose a broad person's arm may point two degrees away
from a slim one's. With C the shortest rotation between the two directions in the reference pose, the avatar's joint
takes G C where the driver's has G.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ...body.kinematics import Kinematics
from ...body.template import FINGERS, SIDES, BodyTemplate
from ..limbs import norm, swing

Array = NDArray[np.float64]
_NONE = 1e-5  # radians: corrections below this are zero
# Roles of the joints that carry a bone, and of the joint at its end.
_BONES = {
    ("spine1", "spine2", "spine3"): "neck1",
    ("neck1", "neck2"): "head",
    **{
        tuple(f"{joint}.{side}" for joint in joints): f"{end}.{side}"
        for side in SIDES
        for joints, end in (
            (("clavicle",), "upper_arm"),
            (("upper_arm", "upper_arm_twist"), "forearm"),
            (("forearm", "forearm_twist"), "hand"),
            (("hand",), "middle1"),
            (("thigh", "thigh_twist"), "shin"),
            (("shin",), "foot"),
            *(((f"{finger}{k}",), f"{finger}{k + 1}") for finger in FINGERS for k in (1, 2)),
        )
    },
}


def bones(template: BodyTemplate) -> list[tuple[list[str], str]]:
    """Return the bones that keep their direction: names of the joints that carry each one, and of its end joint."""
    roles = template.roles
    return [([roles[r] for r in carriers if r in roles], roles[end]) for carriers, end in _BONES.items()]


class Proportions:
    """Transfers poses from one body to another of the same template.

    Args:
        source: the driver.
        target: the avatar.
    """

    def __init__(self, template: BodyTemplate, source: Kinematics, target: Kinematics):
        matrices = np.tile(np.eye(3), (len(target.names), 1, 1))
        for carriers, end in bones(template):
            here, there = (_direction(k, carriers[0], end) for k in (target, source))
            for joint in carriers:
                matrices[target.index(joint)] = swing(here, there)
        for tips, joint in _finger_ends(template):
            skins = [k.vertices([tips]) for k in (target, source)]
            row = [k.index(joint) for k in (target, source)]
            ends = [p.offsets[0, j] / p.weights[0, j] for p, j in zip(skins, row, strict=True)]
            matrices[row[0]] = swing(*ends)
        corrections = Rotation.from_matrix(matrices)
        joints = target.pose_indices
        self.alike = bool(corrections.magnitude().max() < _NONE)
        self._before = corrections[target.parents[joints]].inv()
        self._after = corrections[joints]

    def carry(self, pose: Array) -> Array:
        """Convert a pose [P, 3] of the source, as rotation vectors, to the target."""
        if self.alike:
            return pose
        return (self._before * Rotation.from_rotvec(pose) * self._after).as_rotvec()


def _direction(kinematics: Kinematics, start: str, end: str) -> Array:
    along = kinematics.reference[kinematics.index(end)] - kinematics.reference[kinematics.index(start)]
    return along / norm(along)


def _finger_ends(template: BodyTemplate) -> list[tuple[torch.Tensor, str]]:
    """Return the vertices at every fingertip, and the joint that carries the finger's last bone."""
    names = [template.roles[f"{finger}3.{side}"] for side in SIDES for finger in FINGERS]
    return list(zip(template.fingertips, names, strict=True))
