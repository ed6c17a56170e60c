"""Landmarks that the live page draws over the camera image: fewer than the detector's, in the page's order."""

import numpy as np

from ..tracking.detection.landmarks import Landmarks
from ..tracking.detection.topology import POSE_ROLES

_SEEN = 0.3  # least visibility of a body point that is drawn
_POSE_POINTS = 33  # the page draws those that have a role
_PLACES = {
    "nose": 0, "left_eye": 2, "right_eye": 5, "left_ear": 7, "right_ear": 8, "left_mouth": 9, "right_mouth": 10,
    "left_shoulder": 11, "right_shoulder": 12, "left_elbow": 13, "right_elbow": 14, "left_wrist": 15,
    "right_wrist": 16, "left_hip": 23, "right_hip": 24, "left_knee": 25, "right_knee": 26, "left_ankle": 27,
    "right_ankle": 28, "left_heel": 29, "right_heel": 30, "left_big_toe": 31, "right_big_toe": 32,
}  # fmt: skip
"""Where the page expects each of `POSE_ROLES`."""


def overlay(landmarks: Landmarks, width: int, height: int) -> np.ndarray:
    """Return body, left hand, right hand and face [33 + 21 + 21 + F, 2] as shares of the image's width and height.

    Hands go from the wrist to the tip of the little finger, see `Topology.hand`. Points that are not visible are NaN.
    """
    topology = landmarks.topology
    pose = np.full((_POSE_POINTS, 2), np.nan)
    places, known = [_PLACES[role] for role in POSE_ROLES], topology.indices(POSE_ROLES)
    pose[places] = np.where(landmarks.visibility[known, None] >= _SEEN, landmarks.pose[known], np.nan)
    hand = list(topology.hand)
    hands = [part[hand, :2] for part in (landmarks.left_hand, landmarks.right_hand)]
    return np.concatenate([pose, *hands, landmarks.face[list(topology.face.drawn), :2]]) / np.array([width, height])
