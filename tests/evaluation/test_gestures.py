import numpy as np
import pytest
import torch

from ram_avatar.evaluation.gestures import GESTURES, gestures, lids, lips
from ram_avatar.tracking.detection.mediapipe import MEDIAPIPE
from ram_avatar.tracking.observations import Observations

FRAMES = 3


def observed(hand: np.ndarray | None = None, face: np.ndarray | None = None) -> Observations:
    """Three frames of one left hand [21, 3] and one face [F, 3]; the right hand is not seen."""
    repeated = lambda points, count: torch.from_numpy(
        np.tile(np.zeros((count, 3)) if points is None else points, (FRAMES, 1, 1))
    )
    seen = {"body": True, "left_hand": hand is not None, "right_hand": False, "face": face is not None}
    nothing = torch.zeros(FRAMES, MEDIAPIPE.pose_count, 3)
    return Observations(
        topology=MEDIAPIPE,
        pose=nothing[..., :2],
        visibility=nothing[..., 0],
        pose_world=nothing,
        left_hand=repeated(hand, MEDIAPIPE.hand_count),
        right_hand=repeated(None, MEDIAPIPE.hand_count),
        face=repeated(face, MEDIAPIPE.face.count),
        seen={part: torch.full((FRAMES,), value) for part, value in seen.items()},
        masks=np.zeros((FRAMES, 1, 1), np.uint8),
        width=0,
        height=0,
        fps=0.0,
    )


def hand_with_index_bent(*turns: float) -> np.ndarray:
    """A hand whose fingers are straight, but for the index finger: degrees at its three joints, in space."""
    hand, direction = np.zeros((21, 3)), np.array([0.0, 1.0, 0.0])
    for number, finger in enumerate(MEDIAPIPE.fingers):
        place, angle = np.zeros(3), 0.0
        for k, joint in enumerate(finger):
            angle += np.radians(turns[k - 1]) if number == 1 and k else 0.0
            direction = np.array([0.0, np.cos(angle), np.sin(angle)])
            place = place + (number + 2) * direction
            hand[joint] = place
    return hand


def test_curl_is_the_sum_of_the_angles_whatever_the_size():
    hand = hand_with_index_bent(90, 60, 30)
    for points in (hand, 7 * hand + 20):
        curves = gestures(observed(hand=points))
        assert curves["left_index"] == pytest.approx(180, abs=1e-4)
        assert curves["left_ring"] == pytest.approx(0, abs=1e-4)


def test_unseen_parts_are_unknown():
    curves = gestures(observed(hand=hand_with_index_bent(0, 0, 0)))
    assert tuple(curves) == GESTURES and all(values.shape == (FRAMES,) for values in curves.values())
    assert np.isfinite(curves["left_thumb"]).all()
    assert all(np.isnan(curves[name]).all() for name in ("right_thumb", "mouth", "right_lid", "left_lid"))


def test_mouth_and_lids_are_ratios_of_the_face():
    face, topology = np.zeros((MEDIAPIPE.face.count, 3)), MEDIAPIPE.face
    face[topology.outer_eye_corners[1], 0] = 40
    face[topology.inner_lips[1], 1] = 10
    right, left = topology.eyes
    for eye, height in ((right, 3), (left, 6)):
        face[eye.corners[0], 0], face[eye.corners[1], 0] = (0, 10) if eye is right else (40, 30)
        for upper, lower in eye.lids:
            face[lower, :2] = face[upper, 0], height
    curves = gestures(observed(face=face))
    assert curves["mouth"] == pytest.approx(0.25)
    assert curves["right_lid"] == pytest.approx(0.3) and curves["left_lid"] == pytest.approx(0.6)
    both = torch.from_numpy(face)[None]
    assert lips(both, topology).shape == lids(both, topology).shape == (1, 2)
