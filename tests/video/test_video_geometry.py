"""Sizes, pixel aspect and rotation of read frames."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from video_clips import chart, encode, error, write

from ram_avatar.core.errors import UserError
from ram_avatar.video import probe, read_frames


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_rotation_is_applied(tmp_path: Path, degrees: int, mirrored: bool) -> None:
    path = encode(tmp_path / "phone.mp4", [chart()] * 2, turn=(degrees, mirrored))
    expected = np.rot90(chart(), degrees // 90)  # counter-clockwise, as in the display matrix
    if mirrored:
        expected = expected[:, ::-1]
    info = probe(path)
    assert (info.height, info.width) == expected.shape[:2]
    for frame in read_frames(path):
        assert error(frame, expected) < 8  # blurred edges; a wrong rotation gives over 80


def test_pixels_become_square(tmp_path: Path) -> None:
    path = encode(tmp_path / "wide.mp4", [chart()] * 2, sample_aspect_ratio=Fraction(4, 3))
    info = probe(path)
    assert (info.width, info.height) == (128, 48)
    assert next(read_frames(path)).shape == (48, 128, 3)


def test_odd_sizes_are_read_unchanged(tmp_path: Path) -> None:
    image = chart()[:47, :95]
    path = encode(tmp_path / "odd.mkv", [image] * 2, codec="ffv1", pix_fmt="yuv420p")
    assert error(next(read_frames(path)), image) < 8
    assert (probe(path).width, probe(path).height) == (95, 47)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_frames_are_rotated_clockwise_on_demand(tmp_path: Path, degrees: int) -> None:
    path = write(tmp_path / "chart.mp4", [chart()] * 2)
    info = probe(path, degrees)
    (first, _) = read_frames(path, rotate=degrees)
    assert (info.height, info.width) == first.shape[:2]
    assert np.array_equal(first, np.rot90(next(read_frames(path)), -degrees // 90))
    assert error(first, np.rot90(chart(), -degrees // 90)) < 8  # a wrong rotation gives over 60


def test_a_rotation_adds_to_the_files_own(tmp_path: Path) -> None:
    path = encode(tmp_path / "turned.mp4", [chart()] * 3, turn=(90, False))
    tagged, turned = next(read_frames(path)), next(read_frames(path, rotate=90))
    assert np.array_equal(turned, np.rot90(tagged, -1))


def test_other_angles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="90, 180 or 270"):
        probe(write(tmp_path / "a.mp4", [chart()]), 45)
