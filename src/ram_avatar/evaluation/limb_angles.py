"""How closely limbs follow the driver's: angles between their bones, as the detector sees both.

Unlike distances of landmarks, angles do not depend on the two builds, nor on place and scale in the picture.
"""

from collections.abc import Sequence

import numpy as np

from ..tracking.detection.landmarks import Landmarks
from ..tracking.detection.topology import LIMB_BONES
from .control import MIN_VISIBILITY

CLOSE = 20.0  # degrees
LIMBS = {"arms": slice(0, 4), "legs": slice(4, 8)}
"""Which of `LIMB_BONES` are of the arms and of the legs."""


def limb_angles(found: Sequence[Landmarks], expected: Sequence[Landmarks]) -> np.ndarray:
    """Measure the angles in space between the bones found and the expected ones.

    Returns:
        [N, 8] degrees by frame and by bone of `LIMB_BONES`. NaN where a joint of the bone is occluded in `expected`,
        infinite where the detector sees the bone in `expected` but nobody in `found`.

    Raises:
        ValueError: The clips differ in length.
    """
    angles = []
    for ours, theirs in zip(found, expected, strict=True):
        ends = theirs.topology.bones(LIMB_BONES)
        wanted = theirs.found & (theirs.visibility[ends] >= MIN_VISIBILITY).all(1)
        a, b = (np.diff(landmarks.pose_world[ends], axis=1)[:, 0] for landmarks in (ours, theirs))
        angle = np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(-1)))
        angles.append(np.where(wanted, angle if ours.found else np.inf, np.nan))
    return np.array(angles).reshape(-1, len(LIMB_BONES))


def summarize_angles(angles: np.ndarray) -> tuple[float, float]:
    """Return the mean of the finite angles, and the share within `CLOSE` degrees of all but those that are NaN."""
    wanted = angles[~np.isnan(angles)]
    if not len(wanted):
        return float("nan"), float("nan")
    seen = wanted[np.isfinite(wanted)]
    return float(seen.mean()) if len(seen) else float("nan"), float((wanted <= CLOSE).mean())
