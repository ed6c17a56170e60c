"""Two-bone inverse kinematics in closed form: arms and legs of one frame, bent so that their ends move.

A limb keeps its bending plane and its roll; the hand or foot keeps its orientation in the world.
"""

import math

import numpy as np
from numpy.typing import NDArray

from ..body.kinematics import Kinematics, PosedJoints
from ..body.template import BodyTemplate

Array = NDArray[np.float64]
ARM = ("upper_arm", "forearm", "hand")
LEG = ("thigh", "shin", "foot")
_STRAIGHT, _BENT = math.radians(4.0), math.radians(15.0)  # flexion over which the limb's own plane takes over
_REACH = 0.9995  # of a limb's length: limbs are not stretched further, unless they already are


class Limb:
    """An arm or a leg.

    Args:
        roles: `ARM` or `LEG`.
        side: "L" or "R".
    """

    def __init__(self, kinematics: Kinematics, template: BodyTemplate, roles: tuple[str, str, str], side: str):
        first, middle, self.end = (kinematics.index(template.roles[f"{role}.{side}"]) for role in roles)
        self.parents = kinematics.parents
        self.upper = _path(self.parents, first, middle)
        self.lower = _path(self.parents, middle, self.end)
        at = kinematics.reference
        upper, lower = at[middle] - at[first], at[self.end] - at[middle]
        # The arm is bent in the reference pose. The leg is straight there: it bends about the line between the hips.
        hinge = cross(upper, lower) if roles == ARM else np.array([1.0, 0.0, 0.0])
        hinge = hinge - (hinge @ upper) / (upper @ upper) * upper
        self._hinge = hinge / norm(hinge)  # in axes of the upper bone in the reference pose

    def reach(self, local: Array, joints: PosedJoints, shift: Array) -> None:
        """Bend the limb so that its end moves by `shift` [3] (metres), as far as it can reach.

        Args:
            local: [n, 3, 3] local rotations of the joints; this limb's are changed in place.
            joints: the pose that `Kinematics.chain` makes of them.
        """
        start, knee, end = (joints.positions[j] for j in (self.upper[0], self.lower[0], self.end))
        upper, lower = knee - start, end - knee
        now, wanted = end - start, end + shift - start
        a, b = norm(upper), norm(lower)
        furthest = max(norm(now), _REACH * (a + b))
        nearest = min(norm(now), 1.02 * abs(a - b) + 0.1 * min(a, b))
        distance = min(max(norm(wanted), nearest), furthest)
        axis, flexion = self._bend(joints, upper, lower)
        cosine = (distance * distance - a * a - b * b) / (2 * a * b)
        knee_turn = about(axis, math.acos(min(max(cosine, -1.0), 1.0)) - flexion)
        upper_turn = swing(upper + knee_turn @ lower, wanted)
        lower_turn = upper_turn @ knee_turn
        turns = joints.turns
        first, middle = self.upper[0], self.lower[0]
        local[first] = turns[self.parents[first]].T @ upper_turn @ turns[first]
        local[middle] = (upper_turn @ turns[self.upper[-1]]).T @ lower_turn @ turns[middle]
        local[self.end] = (lower_turn @ turns[self.lower[-1]]).T @ turns[self.end]

    def _bend(self, joints: PosedJoints, upper: Array, lower: Array) -> tuple[Array, float]:
        """Return the bending axis [3] and the flexion in radians."""
        hinge = joints.turns[self.upper[-1]] @ self._hinge
        normal = cross(upper, lower)
        sine = norm(normal)
        sign = 1.0 if normal @ hinge >= 0 else -1.0
        flexion = math.atan2(sine, float(upper @ lower))
        share = min(max((flexion - _STRAIGHT) / (_BENT - _STRAIGHT), 0.0), 1.0)
        if share == 1.0:
            axis = normal * (sign / sine)
        else:
            axis = share * sign / max(sine, 1e-9) * normal + (1 - share) * hinge
            axis = axis - (axis @ upper) / (upper @ upper) * upper
            axis = axis / norm(axis)
        return axis, sign * flexion


def cross(a: Array, b: Array) -> Array:
    """Return `np.cross` of two vectors [3], ten times as fast."""
    (ax, ay, az), (bx, by, bz) = a.tolist(), b.tolist()
    return np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


def norm(vector: Array) -> float:
    """Return the length of a vector, faster than `np.linalg.norm`."""
    return math.sqrt(vector @ vector)


def about(axis: Array, angle: float) -> Array:
    """Return the rotation [3, 3] by an angle (radians) about a unit vector (Rodrigues)."""
    x, y, z = axis.tolist()
    s, c = math.sin(angle), math.cos(angle)
    d = 1 - c
    return np.array(
        [
            [c + x * x * d, x * y * d - z * s, x * z * d + y * s],
            [y * x * d + z * s, c + y * y * d, y * z * d - x * s],
            [z * x * d - y * s, z * y * d + x * s, c + z * z * d],
        ]
    )


def swing(start: Array, end: Array) -> Array:
    """Return the shortest rotation [3, 3] of one vector to the direction of another."""
    normal = cross(start, end)
    sine = norm(normal)
    if sine < 1e-12:
        return np.eye(3)
    return about(normal / sine, math.atan2(sine, float(start @ end)))


def _path(parents: NDArray[np.intp], first: int, last: int) -> list[int]:
    """Return the joints from `first` (included) down to `last` (excluded)."""
    path = []
    joint = int(parents[last])
    while joint != first:
        path.append(joint)
        joint = int(parents[joint])
    return [first, *reversed(path)]
