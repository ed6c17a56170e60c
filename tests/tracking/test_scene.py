"""The other people, and the camera that stands still or does not."""

import cv2
import numpy as np
import pytest

from ram_avatar.tracking.camera.path import CameraPath, PathFinder
from ram_avatar.tracking.detection.people import find_people
from ram_avatar.video import read_frames


def _room() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    return cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC)


def _path(frames, masks) -> CameraPath:
    finder = PathFinder()
    for frame, mask in zip(frames, masks, strict=True):
        finder.add(frame, mask)
    return finder.find()


def test_a_still_camera_is_still_although_the_person_moves():
    frames, masks = [], []
    for i in range(8):
        frame, mask = _room(), np.zeros((480, 640), np.uint8)
        cv2.rectangle(frame, (100 + 30 * i, 100), (220 + 30 * i, 460), (200, 30, 30), -1)
        cv2.rectangle(mask, (95 + 30 * i, 95), (225 + 30 * i, 465), 255, -1)
        frames.append(frame)
        masks.append(mask)
    path = _path(frames, masks)
    assert path.still and path.shift < 0.004


@pytest.mark.parametrize("move", ["pan", "zoom"])
def test_a_moving_camera_is_found_out(move):
    frames = []
    for i in range(8):
        pan, zoom = np.array([[1, 0, -3.0 * i], [0, 1, 0]]), cv2.getRotationMatrix2D((320, 240), 0, 1 + 0.01 * i)
        matrix = pan if move == "pan" else zoom
        frames.append(cv2.warpAffine(_room(), matrix, (640, 480), borderMode=cv2.BORDER_REFLECT))
    path = _path(frames, [np.zeros((480, 640), np.uint8)] * 8)
    assert path.moves and path.shift > 0.012


def test_two_people_are_counted_and_the_larger_is_kept(shared):
    """Two real clips side by side, one of them much smaller."""
    large = read_frames(shared / "videos" / "bedroom_dance.mp4", stop=40)
    small = read_frames(shared / "videos" / "stage_dance.mp4", stop=40)
    frames = []
    for a, b in zip(large, small, strict=True):
        a = cv2.resize(a, (450, 720))
        b = cv2.resize(b, (330, 587))
        frames.append(np.concatenate([a, cv2.copyMakeBorder(b, 0, 133, 0, 0, cv2.BORDER_REPLICATE)], 1))
    people = find_people((i, frames[i]) for i in range(0, 40, 5))
    assert people.others == 1
    alone = people.isolate(20, frames[20])
    assert (alone[:, 600:] == 127).all() and (alone[:, :400] == frames[20][:, :400]).all()


def test_one_person_is_one_person(shared):
    frames = list(read_frames(shared / "videos" / "bedroom_dance.mp4", stop=10))
    people = find_people(enumerate(frames))
    assert people.others == 0 and people.isolate(3, frames[3]) is frames[3]
