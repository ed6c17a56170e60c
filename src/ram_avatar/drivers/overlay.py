"""The tracked body as the page draws it over the camera: fewer points than the detector has, and in its order."""

import numpy as np

from ..tracking.detection.landmarks import Landmarks

_SEEN = 0.3  # visibility from which a point of the body is drawn
# Of MediaPipe's 478 points of the face: its outline, the lips, the lids, the brows.
FACE = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),
)


def overlay(landmarks: Landmarks, width: int, height: int) -> np.ndarray:
    """[33 + 21 + 21 + F, 2]: body, left hand, right hand and face in shares of the picture's width and height.

    Points that are not seen are NaN.
    """
    pose = np.where(landmarks.visibility[:, None] >= _SEEN, landmarks.pose, np.nan)
    points = [pose, landmarks.left_hand[:, :2], landmarks.right_hand[:, :2], landmarks.face[list(FACE), :2]]
    return np.concatenate(points) / np.array([width, height])
