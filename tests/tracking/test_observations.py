import copy

import numpy as np
import pytest

from ram_avatar.tracking.detection.mediapipe import HolisticDetector
from ram_avatar.tracking.observations import observe
from ram_avatar.video import probe, read_frames


@pytest.fixture(scope="module")
def real_landmarks(shared):
    """A real detector on real frames."""
    path = shared / "videos" / "bedroom_dance.mp4"
    detector, info = HolisticDetector(), probe(path)
    found = [detector.detect(frame) for frame in read_frames(path, stop=12)]
    detector.close()
    return found, info


def test_a_real_person_is_detected(real_landmarks):
    found, info = real_landmarks
    observed = observe(found, info.width, info.height, float(info.fps))
    rates = observed.rates()
    assert rates["body"] == 1.0 and rates["face"] == 1.0 and max(rates["left_hand"], rates["right_hand"]) > 0.5
    assert 0.7 * info.height < observed.person_height < 0.95 * info.height
    assert observed.masks.shape[0] == 12 and 0.05 < (observed.masks > 127).mean() < 0.4


def test_a_hand_far_from_its_wrist_is_dropped(real_landmarks):
    found, info = copy.deepcopy(real_landmarks[0]), real_landmarks[1]
    observed = observe(found, info.width, info.height, 16.0)
    part = "right_hand" if observed.seen["right_hand"].any() else "left_hand"
    frame = int(observed.seen[part].nonzero()[0])
    getattr(found[frame], part)[:, 0] += 0.2 * info.width
    assert not observe(found, info.width, info.height, 16.0).seen[part][frame]


def test_a_face_seen_from_behind_is_dropped(real_landmarks):
    found, info = copy.deepcopy(real_landmarks[0]), real_landmarks[1]
    found[3].pose_world[:, 2] *= -1  # from behind: the nose is farther away than the ears
    seen = observe(found, info.width, info.height, 16.0).seen["face"]
    assert not seen[3] and seen[2]


def test_an_empty_frame_shows_nobody(real_landmarks):
    info = real_landmarks[1]
    detector = HolisticDetector()
    nobody = detector.detect(np.full((240, 320, 3), 90, np.uint8))
    detector.close()
    assert not nobody.found
    observed = observe([nobody] * 3, info.width, info.height, 16.0)
    assert observed.rates() == {"body": 0.0, "left_hand": 0.0, "right_hand": 0.0, "face": 0.0}
