"""How a head is turned, from the rigid landmarks of its face."""

import numpy as np
from scipy.spatial.transform import Rotation

from ..tracking.detection.topology import FaceTopology
from ..tracking.observations import Observations

HEAD_ANGLES = ("head_yaw", "head_pitch", "head_roll")


def face_shape(seen: Observations) -> np.ndarray:
    """Return the rigid landmarks [H, 3] of a face in the axes of its own head: x to the left eye, y down, z back.

    They are taken from the frame that shows the eyes farthest apart, so the face is nearly frontal there.

    Raises:
        ValueError: no frame shows the face.
    """
    where = seen.seen["face"].numpy()
    if not where.any():
        raise ValueError("no frame shows the face")
    faces, topology = seen.face.numpy()[where], seen.topology.face
    right, left = topology.outer_eye_corners
    face = faces[np.argmax(np.linalg.norm((faces[:, left] - faces[:, right])[:, :2], axis=-1))]
    return (face[list(topology.head)] - face[list(topology.head)].mean(0)) @ _head_axes(face, topology)


def head_turns(seen: Observations, shape: np.ndarray) -> np.ndarray:
    """Return yaw, pitch and roll [N, 3] of the head in degrees; NaN where the face is not seen.

    All are 0 where the eyes are level, and as far from the camera as the corners of the mouth. They turn the head in
    this order about the vertical, about the axis through the ears and about the line of sight; positive is towards the
    left of the picture, down, and clockwise.

    Args:
        shape: the rigid landmarks of a face (`face_shape`). Compare heads by one shape: MediaPipe's faces resemble
            each other closely enough for a degree or two.
    """
    turns = np.full((len(seen), 3), np.nan)
    for index in np.flatnonzero(seen.seen["face"].numpy()):
        points = seen.face[index].numpy()[list(seen.topology.face.head)]
        rotation, _ = Rotation.align_vectors(points - points.mean(0), shape)
        turns[index] = rotation.as_euler("YXZ", degrees=True)
    return turns


def turned_apart(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Return the absolute differences of angles in degrees, at most 180."""
    return np.abs((ours - theirs + 180) % 360 - 180)


def _head_axes(face: np.ndarray, topology: FaceTopology) -> np.ndarray:
    """Return the head's axes as the columns of [3, 3], by the corners of eyes and mouth."""
    right, left = (face[i] for i in topology.outer_eye_corners)
    mouth = face[list(topology.mouth_corners)].mean(0)
    x = (left - right) / np.linalg.norm(left - right)
    down = mouth - (left + right) / 2
    y = down - (down @ x) * x
    y /= np.linalg.norm(y)
    return np.column_stack([x, y, np.cross(x, y)])
