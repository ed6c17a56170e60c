"""The fixed square around the person, and the comparison in it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from measures.fixed_square import SIZE, compare_in_square, fixed_square

from ram_avatar.avatar import Avatar
from ram_avatar.capture.capture import Capture, LeftOut
from ram_avatar.capture.footage import Footage
from ram_avatar.core.progress import Silent


class Boxes(Capture):
    """A capture of gray frames, 100 x 60, whose mattes are boxes."""

    mattes = ((10, 20, 30, 50), (40, 10, 50, 40), (0, 0, 100, 60))  # left, top, right, bottom

    def frames(self):
        for left, top, right, bottom in self.mattes:
            matte = np.zeros((60, 100), np.uint8)
            matte[top:bottom, left:right] = 255
            yield np.full((60, 100, 3), 128, np.uint8), matte


def test_square_holds_the_person_in_all_frames_that_show_them(capture):
    boxes = Boxes(**vars(capture) | {"motion": capture.motion[:3], "left_out": (LeftOut(2, 2, "nobody"),)})
    boxes.camera = replace(capture.camera, width=100, height=60)
    boxes.footage = Footage("video.mp4", 0, 0, 100, 60)
    square = fixed_square(boxes)
    assert square.side == pytest.approx(40 * 1.12)  # the extent is 40 x 40 pixels
    assert (square.left, square.top) == pytest.approx((10 - 0.06 * 40, 10 - 0.06 * 40))


def mean_difference(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a - b).abs().mean((1, 2, 3))


def test_errors_of_held_out_frames(avatar_folder, capture):
    errors = compare_in_square(Avatar.load(avatar_folder), capture, mean_difference, Silent())
    assert errors.psnr.shape == errors.st_lpips.shape == (len(capture.held_out),)
    assert 10 < errors.psnr.mean() < 40 and 0 < errors.st_lpips.mean() < 1
    # The avatar's close-ups have 64 pixels on a side, the square 256.
    assert 0.2 < errors.pixels / (64 / SIZE) ** 2 < 2
