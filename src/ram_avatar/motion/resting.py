"""Resting poses: arms hang, legs stand or sit. Unseen limbs of drivers and tracked people take these.

Limbs rest relative to the room rather than the trunk: unseen legs stand still while the hips sway.
"""

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ..body.anatomy import anatomy_of
from ..body.kinematics import Kinematics
from ..body.template import SIDES, BodyTemplate
from .limbs import norm, swing
from .motion import LIMBS
from .pose_features import split_heading

Array = NDArray[np.float64]
Number = TypeVar("Number", float, Array)
_ROLES = {
    "arm": ("upper_arm", "upper_arm_twist", "forearm", "forearm_twist", "hand"),
    "leg": ("thigh", "thigh_twist", "shin", "foot", "toes"),
}
# Directions of a hanging left arm, in world axes of the reference pose.
_HANGING = {"upper_arm": (0.27, 0.03, -1.0), "forearm": (0.14, -0.30, -1.0)}
_SEATED = math.radians(85.0)  # elevation of a seated person's thighs
_LIFTED = (math.radians(35.0), math.radians(60.0))  # thighs below the first angle stand, above the second they sit
_UPRIGHT, _LYING = math.radians(45.0), math.radians(70.0)  # lean of the hips, from standing to lying


def limb_roles(limb: str) -> list[str]:
    """Return the roles of the joints that belong to one of `LIMBS`, from the trunk outward."""
    side, kind = limb.split("_")
    return [f"{role}.{side[0].upper()}" for role in _ROLES[kind]]


def limb_rows(template: BodyTemplate) -> list[list[int]]:
    """Return the rows of each of `LIMBS` among the template's pose joints, from the trunk outward."""
    roles = template.pose_roles
    return [[roles.index(role) for role in limb_roles(limb) if role in roles] for limb in LIMBS]


def at_ease(template: BodyTemplate, kinematics: Kinematics) -> Array:
    """Return the pose [P, 3] (rotation vectors) of a person standing upright, arms hanging, hands relaxed."""
    anatomy = anatomy_of(template)
    pose = anatomy.to_pose(anatomy.relaxed).double().numpy()
    at = lambda role, side: kinematics.reference[kinematics.index(template.roles[f"{role}.{side}"])]
    for side, flip in zip(SIDES, (1.0, -1.0), strict=True):
        carried = np.eye(3)
        for bone, end in (("upper_arm", "forearm"), ("forearm", "hand")):
            wanted = np.array(_HANGING[bone]) * [flip, 1.0, 1.0]
            turn = swing(at(end, side) - at(bone, side), wanted / norm(wanted))
            row = template.pose_joints.index(template.roles[f"{bone}.{side}"])
            pose[row] = Rotation.from_matrix(carried.T @ turn).as_rotvec()
            carried = turn
    return pose


def seat(pose: Array, template: BodyTemplate, share: float) -> Array:
    """Return a standing pose [P, 3] with its legs seated by a fraction: 0 for standing, 1 for sitting."""
    pose = pose.copy()
    for side in SIDES:
        for role, sign in (("thigh", -1.0), ("shin", 1.0)):
            pose[template.pose_joints.index(template.roles[f"{role}.{side}"]), 0] += sign * share * _SEATED
    return pose


def seated(thighs: Array) -> Array:
    """Return how far each thigh [...] is seated, 0 (standing) to 1.

    Args:
        thighs: [..., 3] unit vectors from hip to knee, in the axes of `standing_axes`.
    """
    low, high = _LIFTED
    lifted = np.arctan2(-thighs[..., 1], -thighs[..., 2])
    return eased(np.clip((lifted - low) / (high - low), 0.0, 1.0))


def lift(thigh: Array, share: Array | float) -> Array:
    """Return the direction [..., 3] of a standing person's thigh [3] or [..., 3] once seated by a fraction [...]."""
    angle = -np.asarray(share) * _SEATED
    x, y, z = np.moveaxis(np.asarray(thigh), -1, 0)
    sine, cosine = np.sin(angle), np.cos(angle)
    return np.stack(np.broadcast_arrays(x, y * cosine - z * sine, y * sine + z * cosine), -1)


def standing_axes(root_rotation: Array) -> Rotation:
    """Return the axes that limbs rest in: the room's, turned to the heading of the hips.

    For a person lying down they blend into the root's own axes, so that limbs rest along the trunk.

    Args:
        root_rotation: [3] or [N, 3] rotation vectors of the root in the world, radians.
    """
    tilt, heading = split_heading(root_rotation)
    return Rotation.from_rotvec(heading) * Rotation.from_rotvec(_lying(tilt)[..., None] * tilt)


def lying(root_rotation: Array) -> Array:
    """Return how far a person is lying [...], 0 (standing, sitting, bowing) to 1, from root rotations [..., 3]."""
    return _lying(split_heading(root_rotation)[0])


def _lying(tilt: Array) -> Array:
    lean = np.linalg.norm(tilt, axis=-1)
    return eased(np.clip((lean - _UPRIGHT) / (_LYING - _UPRIGHT), 0.0, 1.0))


def eased(fraction: Number) -> Number:
    """Ease a fraction from 0 to 1 in and out (smoothstep)."""
    return fraction * fraction * (3.0 - 2.0 * fraction)
