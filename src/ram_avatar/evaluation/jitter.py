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
    joints, body = seen.pose[:, seen.topology.indices(JOINTS)].numpy(), seen.seen["body"].numpy()
    found = np.full(joints.shape[:2], np.nan)
    if len(joints) > 2 and body.any():
        second = np.linalg.norm(joints[2:] - 2 * joints[1:-1] + joints[:-2], axis=-1) / seen.person_height
        known = body[2:] & body[1:-1] & body[:-2] & (np.subtract(numbers[2:], numbers[:-2]) == 2)
        found[1:-1][known] = second[known]
    return found


def visible_joints(seen: Observations) -> np.ndarray:
    """Return [N, 12] bool: the `JOINTS` that are not occluded."""
    visible = seen.visibility[:, seen.topology.indices(JOINTS)].numpy() >= MIN_VISIBILITY
    return visible & seen.seen["body"].numpy()[:, None]
