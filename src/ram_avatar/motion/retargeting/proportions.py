"""A pose on a body of another build: the same turns, so corrected that its bones point where the driver's do.

Bodies of one template have the same joints, but in their reference poses an arm of a broad person may point two degrees
elsewhere than a slim one's. With C the shortest turn from the one direction to the other, in the reference pose, a
joint of the avatar turns by G C where the driver's turns by G.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ...body.kinematics import Kinematics
from ...body.template import FINGERS, SIDES, BodyTemplate
from ..limbs import norm, swing

Array = NDArray[np.float64]
_NONE = 1e-5  # radians: bodies of one build
# Roles of the joints that carry a bone, and of the one at its end.
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
    """The bones that keep their direction: names of the joints that carry one, and of the joint at its end."""
    roles = template.roles
    return [([roles[r] for r in carriers if r in roles], roles[end]) for carriers, end in _BONES.items()]


class Proportions:
    """Poses of one body on another.

    Args:
        source, target: both of one template.
    """

    def __init__(self, template: BodyTemplate, source: Kinematics, target: Kinematics):
        corrections = np.tile(np.eye(3), (len(target.names), 1, 1))
        for carriers, end in bones(template):
            here, there = (_direction(k, carriers[0], end) for k in (target, source))
            for joint in carriers:
                corrections[target.index(joint)] = swing(here, there)
        for tips, joint in _finger_ends(template):
            here, there = (k.vertices([tips]) for k in (target, source))
            row = [k.index(joint) for k in (target, source)]
            ends = [p.offsets[0, j] / p.weights[0, j] for p, j in zip((here, there), row, strict=True)]
            corrections[row[0]] = swing(*ends)
        corrections = Rotation.from_matrix(corrections)
        joints = target.pose_indices
        self.alike = bool(corrections.magnitude().max() < _NONE)
        self._before = corrections[target.parents[joints]].inv()
        self._after = corrections[joints]

    def carry(self, pose: Array) -> Array:
        """[P, 3] rotation vectors of the pose joints, of those [P, 3] of the source."""
        if self.alike:
            return pose
        return (self._before * Rotation.from_rotvec(pose) * self._after).as_rotvec()


def _direction(kinematics: Kinematics, start: str, end: str) -> Array:
    along = kinematics.reference[kinematics.index(end)] - kinematics.reference[kinematics.index(start)]
    return along / norm(along)


def _finger_ends(template: BodyTemplate) -> list[tuple[torch.Tensor, str]]:
    """The vertices at the tip of every finger, and the joint that carries its last bone."""
    names = [template.roles[f"{finger}3.{side}"] for side in SIDES for finger in FINGERS]
    return list(zip(template.fingertips, names, strict=True))
