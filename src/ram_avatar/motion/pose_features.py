"""Features of a pose for the motion prior: body joint rotations and the root's tilt, without discontinuities.

A rotation is represented by the first two columns of its matrix (Y. Zhou et al., "On the Continuity of Rotation
Representations in Neural Networks", CVPR 2019): the code is unique and continuous, which no code of three or four
numbers is. Fingers, eyes and the face are left out: they do not make a body's pose, and an avatar's network renders
each of them separately. So is the heading: a person who turns around has the same pose.
"""

import numpy as np
from scipy.spatial.transform import Rotation

from ..body.template import FINGERS, BodyTemplate

Array = np.ndarray
_LEFT_OUT = (*FINGERS, "eye")
_MIRRORED = np.array([1.0, -1.0, -1.0, -1.0, 1.0, 1.0])  # signs of a rotation's columns when mirrored at x = 0
_UPSIDE_DOWN = 1e-9
_NEXT, _AFTER = [1, 2, 0], [2, 0, 1]


class PoseFeatures:
    """Converts a template's poses to features and back. All arrays are float64, with any leading dimensions.

    Features are K blocks of 6: the root's tilt, then the body's joints in the order of `pose_joints`. The tilt is the
    root's rotation without the heading, which is its part about the vertical. The heading is undefined upside down,
    and may jump near that.
    """

    def __init__(self, template: BodyTemplate):
        roles = template.pose_roles
        self.joints = [i for i, role in enumerate(roles) if not role.startswith(_LEFT_OUT)]
        self.roles = ["hips"] + [roles[i] for i in self.joints]
        self.names = [template.roles[role] for role in self.roles]
        self.width = 6 * len(self.roles)
        self.parents, self.levels = _hierarchy(template, self.names)
        """`parents` [K]: the nearest of `roles` above each one; the root is its own parent. `levels`: indices of the
        joints one step below the root, two steps below, and so on."""
        self.mirror = self.blocks([_other_side(role) for role in self.roles])
        """Mirrors a pose: `features[..., mirror] * mirror_signs`."""
        self.mirror_signs = np.tile(_MIRRORED, len(self.roles))

    def rotations(self, root_rotation: Array, pose: Array) -> Array:
        """Return the tilt and the local rotations of the body's joints, [..., K, 3, 3].

        Args:
            root_rotation: [..., 3] rotation vectors, radians.
            pose: [..., P, 3] rotation vectors of the template's pose joints, radians.
        """
        return self.turns(split_heading(root_rotation)[0], pose)

    def turns(self, tilt: Array, pose: Array) -> Array:
        """Return the same as `rotations`, given the tilt [..., 3]."""
        vectors = np.concatenate([tilt[..., None, :], pose[..., self.joints, :]], -2)
        return Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(*vectors.shape, 3)

    def orientations(self, rotations: Array) -> Array:
        """Accumulate local `rotations` to orientations relative to the heading, [..., K, 3, 3]."""
        turned = rotations.copy()
        for joints in self.levels:
            turned[..., joints, :, :] = turned[..., self.parents[joints], :, :] @ rotations[..., joints, :, :]
        return turned

    def of(self, root_rotation: Array, pose: Array) -> Array:
        """Return the features [..., 6 K] of a pose. Arguments: see `rotations`."""
        return to_features(self.rotations(root_rotation, pose))

    def with_body(self, rotations: Array, heading: Array, pose: Array) -> tuple[Array, Array]:
        """Replace the body of a pose; fingers and eyes stay.

        Args:
            rotations: [..., K, 3, 3]; must be rotation matrices.
            heading: [..., 3] applied after the tilt (`split_heading`).

        Returns:
            New root rotation [..., 3] and pose [..., P, 3].
        """
        turns = Rotation.from_matrix(rotations.reshape(-1, 3, 3))
        vectors = turns.as_rotvec().reshape(rotations.shape[:-1])
        changed = pose.copy()
        changed[..., self.joints, :] = vectors[..., 1:, :]
        tilt, _ = split_heading(vectors[..., 0, :])  # a decoded tilt may contain a little heading
        turned = _turns(heading) * _turns(tilt)
        return turned.as_rotvec().reshape(heading.shape), changed

    def blocks(self, roles: list[str]) -> Array:
        """Return the indices of the features of some of `roles`."""
        return np.concatenate([np.arange(6 * k, 6 * k + 6) for k in map(self.roles.index, roles)])


def split_heading(root_rotation: Array) -> tuple[Array, Array]:
    """Split rotations [..., 3] into tilt and heading, rotation vectors [..., 3] in that order of application.

    The heading is about the vertical, the tilt about a level axis.
    """
    turn = _turns(root_rotation)
    quaternion = turn.as_quat()
    upright = np.hypot(quaternion[:, 2], quaternion[:, 3]) > _UPSIDE_DOWN
    heading = np.zeros((len(quaternion), 3))
    heading[:, 2] = np.where(upright, 2 * np.arctan2(quaternion[:, 2], quaternion[:, 3]), 0.0)
    tilt = Rotation.from_rotvec(-heading) * turn
    return tilt.as_rotvec().reshape(root_rotation.shape), heading.reshape(root_rotation.shape)


def to_features(rotations: Array) -> Array:
    """Convert rotation matrices [..., K, 3, 3] to features [..., 6 K]: each one's first column, then its second."""
    return rotations[..., :2].swapaxes(-1, -2).reshape(*rotations.shape[:-3], -1)


def to_rotations(features: Array) -> Array:
    """Convert features [..., 6 K] to the nearest rotation matrices [..., K, 3, 3] (Gram-Schmidt)."""
    columns = features.reshape(*features.shape[:-1], -1, 2, 3)
    x, second = columns[..., 0, :], columns[..., 1, :]
    x = x / np.sqrt(np.square(x).sum(-1, keepdims=True))
    y = second - (x * second).sum(-1, keepdims=True) * x
    y = y / np.sqrt(np.square(y).sum(-1, keepdims=True))
    z = x[..., _NEXT] * y[..., _AFTER] - x[..., _AFTER] * y[..., _NEXT]  # cross product
    return np.stack([x, y, z], -1)


def angles_between(a: Array, b: Array) -> Array:
    """Return the angles [..., K] in degrees between the rotations of two sets of features."""
    cosine = (np.einsum("...kij,...kij->...k", to_rotations(a), to_rotations(b)) - 1) / 2
    return np.degrees(np.arccos(cosine.clip(-1, 1)))


def _hierarchy(template: BodyTemplate, names: list[str]) -> tuple[Array, list[Array]]:
    rows = {name: k for k, name in enumerate(names)}
    parents, depth = np.zeros(len(names), int), np.zeros(len(names), int)
    nearest: list[int] = []  # for every joint of the skeleton: the named joint that it is, or follows
    for name, parent in zip(template.joint_names, template.joint_parents, strict=True):
        above = nearest[parent] if parent >= 0 else 0
        k = rows.get(name)
        if k is not None:
            parents[k], depth[k] = above, depth[above] + (parent >= 0)
        nearest.append(above if k is None else k)
    return parents, [np.flatnonzero(depth == level) for level in range(1, depth.max() + 1)]


def _turns(vectors: Array) -> Rotation:
    return Rotation.from_rotvec(vectors.reshape(-1, 3))


def _other_side(role: str) -> str:
    return {".L": role[:-2] + ".R", ".R": role[:-2] + ".L"}.get(role[-2:], role)
