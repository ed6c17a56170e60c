"""How a person trembles: the acceleration of landmarks."""

from collections.abc import Sequence

import numpy as np

from ..tracking.detection.topology import JOINTS
from ..tracking.observations import Observations
from .control import MIN_VISIBILITY


def joint_accelerations(seen: Observations, numbers: Sequence[int]) -> np.ndarray:
    """Return the accelerations [N, 12] of the `JOINTS` in the picture, in the person's heights per frame squared.

    NaN in the first and the last frame, beside skipped frames, and where the person is not seen.

    Args:
        numbers: [N] of the frames in the clip, increasing.
    """
    joints = seen.pose[:, seen.topology.indices(JOINTS)].numpy().copy()
    joints[~seen.seen["body"].numpy()] = np.nan
    found = np.full(joints.shape[:2], np.nan)
    if len(joints) > 2:
        second = joints[2:] - 2 * joints[1:-1] + joints[:-2]
        second[np.subtract(numbers[2:], numbers[:-2]) != 2] = np.nan
        found[1:-1] = np.linalg.norm(second, axis=-1) / seen.person_height
    return found


def visible_joints(seen: Observations) -> np.ndarray:
    """Return [N, 12] bool: the `JOINTS` that are not occluded."""
    visible = seen.visibility[:, seen.topology.indices(JOINTS)].numpy() >= MIN_VISIBILITY
    return visible & seen.seen["body"].numpy()[:, None]
