"""What a person does with face and fingers, as one number per frame: curves that can be compared over time.

Every number is a ratio or an angle, so that it does not depend on a person's build, nor on place and scale in the
picture.
"""

import numpy as np
import torch
from torch import Tensor

from ..body.template import FINGERS
from ..tracking.detection.topology import FaceTopology
from ..tracking.observations import Observations

LIDS = ("right_lid", "left_lid")
HAND_FINGERS = {side: tuple(f"{side}_{finger}" for finger in FINGERS) for side in ("left", "right")}
"""Gestures of each hand, thumb to little finger."""
GESTURES = ("mouth", *LIDS, *HAND_FINGERS["left"], *HAND_FINGERS["right"])


def gestures(seen: Observations) -> dict[str, np.ndarray]:
    """Return the curves [N] of `GESTURES`; NaN where the detector does not see the part.

    - mouth: opening of the inner lips over the distance of the outer eye corners.
    - right_lid, left_lid: eye aspect ratio.
    - fingers: curl in degrees, the sum of the angles between the bones from the wrist to the tip; 0 is straight.
    """
    topology = seen.topology
    face = np.column_stack([lips(seen.face, topology.face)[:, 0], lids(seen.face, topology.face)])
    curves = {("mouth", *LIDS)[k]: _where(seen, "face", face[:, k]) for k in range(3)}
    for side, names in HAND_FINGERS.items():
        hand = getattr(seen, f"{side}_hand").numpy()
        for name, finger in zip(names, topology.fingers, strict=True):
            curves[name] = _where(seen, f"{side}_hand", _curl(hand[:, [topology.wrist, *finger]]))
    return curves


def lips(face: Tensor, topology: FaceTopology) -> Tensor:
    """Return [N, 2]: opening of the inner lips and width of the mouth over the distance of the outer eye corners."""
    lengths = [_length(face, pair) for pair in (topology.inner_lips, topology.mouth_corners)]
    return torch.stack(lengths, 1) / _length(face, topology.outer_eye_corners)[:, None]


def lids(face: Tensor, topology: FaceTopology) -> Tensor:
    """Return [N, 2]: eye aspect ratio, height over width, of the right and the left eye."""
    return torch.stack(
        [
            (_length(face, inner) + _length(face, outer)) / (2 * _length(face, eye.corners))
            for eye in topology.eyes
            for outer, inner in [eye.lids]
        ],
        1,
    )


def _length(face: Tensor, pair: tuple[int, int]) -> Tensor:
    """Return [N]: the distance of two landmarks in the image."""
    return (face[:, pair[0], :2] - face[:, pair[1], :2]).norm(dim=-1)


def _curl(chain: np.ndarray) -> np.ndarray:
    """Return the sum [N] of the angles, in degrees, between the bones of a chain [N, K, 3]."""
    bones = np.diff(chain, axis=1)
    one, other = bones[:, :-1], bones[:, 1:]
    angles = np.arctan2(np.linalg.norm(np.cross(one, other), axis=-1), (one * other).sum(-1))
    return np.degrees(angles).sum(1)


def _where(seen: Observations, part: str, values: np.ndarray) -> np.ndarray:
    return np.where(seen.seen[part].numpy(), values, np.nan)
