"""Whether the camera was turned. Phones note it in the file; some programs lose the note."""

import numpy as np

from ..detection.topology import HIPS, SHOULDERS
from ..observations import Observations

_EYES, _MOUTH = ("left_eye", "right_eye"), ("left_mouth", "right_mouth")
_TOLERANCE = 30.0  # degrees by which body and head may each be off a quarter turn
_AGREEING = 0.8  # of the frames that show the person, in which both are at the same quarter turn


def needed_rotation(observations: Observations) -> int:
    """Return the degrees clockwise that bring the person upright: 0, 90, 180 or 270.

    0 where body and head do not clearly agree. A turned camera cannot be told from a person who is lying down.
    """
    seen = observations.seen["body"].numpy()
    if not seen.any():
        return 0
    pose = observations.pose.numpy()[seen]

    def middle(roles: tuple[str, ...]) -> np.ndarray:
        return pose[:, observations.topology.indices(roles)].mean(1)

    up = np.stack([middle(SHOULDERS) - middle(HIPS), middle(_EYES) - middle(_MOUTH)])
    lean = np.degrees(np.arctan2(up[..., 0], -up[..., 1]))  # [2, N] clockwise from upright, y runs down
    for turned in (90, 180, 270):
        off = (lean - turned + 180) % 360 - 180
        if (np.abs(off).max(0) < _TOLERANCE).mean() >= _AGREEING:
            return 360 - turned
    return 0
