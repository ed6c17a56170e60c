"""Limits on how far a pose may deviate from the original."""

from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from ...body.kinematics import Kinematics
from ..motion import Frame
from ..pose_features import Array, PoseFeatures, split_heading

_FADE = 45.0  # degrees: rotations this close to a half turn shrink, since the shortest way flips sides beyond it


class TurnLimit:
    """Limits, bone by bone, how far a pose rotates the body away from the original.

    Works on orientations in the world rather than on joint angles: small rotations of spine, shoulder and elbow add up
    to a large rotation of the forearm, and what a viewer sees is the forearm.

    Args:
        degrees: the largest rotation of a bone.
    """

    def __init__(self, features: PoseFeatures, degrees: float):
        self._features, self._limit = features, np.radians(degrees)

    def __call__(self, original: Array, changed: Array) -> Array:
        """Return `changed` with every bone at most the limit away from `original`.

        Continuous in both poses. The root keeps a tilt without heading, as `PoseFeatures.with_body` requires.

        Args:
            original: [K, 3, 3] of `PoseFeatures.rotations`.
            changed: [K, 3, 3].

        Returns:
            [K, 3, 3].
        """
        changed = changed.copy()
        start, end = (split_heading(Rotation.from_matrix(pose[0]).as_rotvec())[0] for pose in (original, changed))
        changed[0] = Rotation.from_rotvec(end).as_matrix()
        world, wanted = self._features.orientations(original), self._features.orientations(changed)
        limited = np.empty_like(world)
        limited[0] = self._tilt(start, end)
        turns = Rotation.from_matrix(world[1:].swapaxes(-1, -2) @ wanted[1:]).as_rotvec()
        angles = np.linalg.norm(turns, axis=-1)
        allowed = np.minimum(angles, self._limit) * np.clip((np.pi - angles) / np.radians(_FADE), 0.0, 1.0)
        turns *= (allowed / np.maximum(angles, 1e-12))[:, None]
        limited[1:] = world[1:] @ Rotation.from_rotvec(turns).as_matrix()
        local = limited[self._features.parents].swapaxes(-1, -2) @ limited
        local[0] = limited[0]
        return local

    def _tilt(self, start: Array, end: Array) -> Array:
        """Limit the rotation [3, 3] between two rotation vectors with level axes.

        All vectors between them have level axes, too, and rotations are never farther apart than their vectors.
        """
        step = end - start
        step *= min(1.0, self._limit / max(float(np.linalg.norm(step)), 1e-12))
        return Rotation.from_rotvec(start + step).as_matrix()


def limit_frame(kinematics: Kinematics, original: Frame, changed: Frame, degrees: float) -> Frame:
    """Move a placed body from `original` towards `changed` until some bone has rotated by `degrees`.

    All bones and the root move by the same fraction, so feet and hands that are in one place in both frames stay there
    to within millimetres, which separate limits on each bone would not ensure.
    """
    before = kinematics.turns(original.root_rotation, original.pose)
    after = kinematics.turns(changed.root_rotation, changed.pose)
    start, end = (kinematics.chain(local, np.zeros(3)).turns for local in (before, after))
    turns = Rotation.from_matrix(start.swapaxes(-1, -2) @ end).as_rotvec()
    largest = float(np.linalg.norm(turns, axis=-1).max())
    share = np.radians(degrees) / max(largest, 1e-12)
    if share >= 1.0:
        return changed
    world = start @ Rotation.from_rotvec(share * turns).as_matrix()
    local = world.copy()
    local[1:] = world[kinematics.parents[1:]].swapaxes(-1, -2) @ world[1:]
    vectors = Rotation.from_matrix(local).as_rotvec()
    way = changed.root_translation - original.root_translation
    return replace(
        changed,
        root_rotation=vectors[0],
        root_translation=original.root_translation + share * way,
        pose=vectors[kinematics.pose_indices],
    )
