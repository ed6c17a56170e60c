"""The crop, the other people, and the camera that stands still or does not."""

import cv2
import numpy as np
import pytest
import torch

from ram_avatar.tracking.cropping import Crop, choose_crop, mirror_beyond
from ram_avatar.tracking.people import find_people
from ram_avatar.tracking.stillness import MOVES, camera_moves
from ram_avatar.video import read_frames


class _Seen:
    """Observations of a person whose mask is a bar that walks from left to right."""

    width, height = 400, 600

    def __init__(self):
        self.masks = np.zeros((5, 150, 100), np.uint8)
        for i in range(5):
            self.masks[i, 30:140, 20 + 10 * i : 40 + 10 * i] = 255
        self.seen = {"body": torch.ones(5, dtype=torch.bool)}

    def __len__(self):
        return 5


def test_the_crop_holds_every_mask_and_mesh():
    seen = _Seen()
    boxes = torch.tensor([[100.0, 100.0, 200.0, 570.0]]).repeat(5, 1)
    boxes[2] = torch.tensor([60.0, 90.0, 330.0, 560.0])
    crop = choose_crop(seen, boxes)
    assert crop.left <= 60 and crop.left + crop.side >= 330
    assert crop.top <= 90 and crop.top + crop.side >= 570
    for mask in seen.masks:
        area = mask.sum() * (crop.size / crop.side * 4) ** 2
        assert crop.cut(mask, 100 / 400, mirror=False).astype(float).sum() > 0.97 * area


def test_a_crop_stays_inside_where_it_fits():
    crop = choose_crop(_Seen(), torch.tensor([[5.0, 100.0, 100.0, 300.0]]).repeat(5, 1))
    assert crop.top >= 0 and crop.top + crop.side <= 600


@pytest.mark.parametrize("side", [300.0, 333.3, 1500.0])
def test_a_cut_puts_pixels_where_the_camera_says(side):
    """A dot in the source is found where the crop's arithmetic puts it."""
    source = np.zeros((1600, 1500), np.uint8)
    cv2.circle(source, (700, 800), 12, 255, -1)
    crop = Crop(700 - 0.3 * side, 800 - 0.6 * side, side)
    rows, columns = np.nonzero(crop.cut(source, mirror=False) > 127)
    assert abs(columns.mean() + 0.5 - 0.3 * crop.size) < 1 and abs(rows.mean() + 0.5 - 0.6 * crop.size) < 1


def test_nobody_is_mirrored_beyond_the_edge():
    picture = np.random.default_rng(0).integers(0, 255, (20, 20, 3), dtype=np.uint8)
    inside = np.zeros((20, 20), bool)
    inside[:, 6:15] = True
    whole = mirror_beyond(picture, inside)
    assert np.array_equal(whole[:, 6:15], picture[:, 6:15]) and whole.shape == picture.shape
    assert np.array_equal(whole[:, 5], picture[:, 7]) and np.array_equal(whole[:, 19], picture[:, 9])
    assert np.array_equal(mirror_beyond(picture, np.ones((20, 20), bool)), picture)


def _room() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    return cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC)


def test_a_still_camera_is_still_although_the_person_moves():
    frames, masks = [], []
    for i in range(8):
        frame, mask = _room(), np.zeros((480, 640), np.uint8)
        cv2.rectangle(frame, (100 + 30 * i, 100), (220 + 30 * i, 460), (200, 30, 30), -1)
        cv2.rectangle(mask, (95 + 30 * i, 95), (225 + 30 * i, 465), 255, -1)
        frames.append(frame)
        masks.append(mask)
    assert camera_moves(frames, masks) < MOVES / 3


@pytest.mark.parametrize("move", ["pan", "zoom"])
def test_a_moving_camera_is_found_out(move):
    frames = []
    for i in range(8):
        pan, zoom = np.array([[1, 0, -3.0 * i], [0, 1, 0]]), cv2.getRotationMatrix2D((320, 240), 0, 1 + 0.01 * i)
        matrix = pan if move == "pan" else zoom
        frames.append(cv2.warpAffine(_room(), matrix, (640, 480), borderMode=cv2.BORDER_REFLECT))
    assert camera_moves(frames, [np.zeros((480, 640), np.uint8)] * 8) > MOVES


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
