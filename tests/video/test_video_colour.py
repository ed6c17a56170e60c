"""Colours of read frames: pixel formats, ranges, matrices, HDR, transparency."""

from pathlib import Path

import numpy as np
import pytest
from av.video.reformatter import Colorspace, ColorTrc
from video_clips import CHART, chart, encode, error, patches

from ram_avatar.video import read_frames


@pytest.mark.parametrize(
    ("suffix", "codec", "pix_fmt"),
    [
        (".mp4", "libx264", "yuv420p10le"),
        (".mp4", "libx265", "yuv420p10le"),
        (".mp4", "libx264", "yuv444p"),
        (".mkv", "ffv1", "yuv422p10le"),
        (".mkv", "ffv1", "yuv444p16le"),
        (".mov", "qtrle", "rgb24"),
    ],
)
def test_pixel_formats(tmp_path: Path, suffix: str, codec: str, pix_fmt: str) -> None:
    path = encode(tmp_path / f"clip{suffix}", [chart()] * 3, codec=codec, pix_fmt=pix_fmt)
    frame = next(read_frames(path))
    assert np.abs(patches(frame) - CHART).max() < 4


def test_grey_becomes_rgb(tmp_path: Path) -> None:
    levels = [np.full((32, 32, 3), level, np.uint8) for level in (0, 100, 255)]
    path = encode(tmp_path / "grey.mkv", levels, codec="ffv1", pix_fmt="gray")
    for frame, level in zip(read_frames(path), levels, strict=True):
        assert error(frame, level) <= 1


def test_full_range(tmp_path: Path) -> None:
    path = encode(tmp_path / "full.mp4", [chart()] * 3, full_range=True)
    assert np.abs(patches(next(read_frames(path))) - CHART).max() < 4


@pytest.mark.parametrize(("scale", "matrix"), [(1, Colorspace.ITU601), (15, Colorspace.ITU709)])
def test_untagged_colours_depend_on_size(tmp_path: Path, scale: int, matrix: Colorspace) -> None:
    image = chart().repeat(scale, axis=0).repeat(scale, axis=1)  # 96 x 48, or 1440 x 720
    path = encode(tmp_path / "untagged.mp4", [image], tagged=False, matrix=matrix)
    assert np.abs(patches(next(read_frames(path))[::scale, ::scale]) - CHART).max() < 4


def test_reference_white_of_hlg_is_white(tmp_path: Path) -> None:
    # ITU-R BT.2408: the signal of reference white is 75 % in HLG.
    white, black = np.full((32, 32, 3), 191, np.uint8), np.zeros((32, 32, 3), np.uint8)
    path = encode(
        tmp_path / "hlg.mp4",
        [white, black],
        pix_fmt="yuv420p10le",
        matrix=Colorspace.BT2020,
        tagged=False,
        colorspace=9,
        color_range=1,
        color_primaries=9,
        color_trc=ColorTrc.ARIB_STD_B67,
    )
    first, second = read_frames(path)
    assert first.min() > 245
    assert second.max() < 8


@pytest.mark.parametrize(
    ("suffix", "codec", "pix_fmt"),
    [(".mov", "prores_ks", "yuva444p10le"), (".webm", "libvpx-vp9", "yuva420p")],
)
def test_transparency_is_composited_over_black(tmp_path: Path, suffix: str, codec: str, pix_fmt: str) -> None:
    alpha = np.zeros((48, 96, 1), np.uint8)
    alpha[:, :32], alpha[:, 32:64] = 255, 128
    path = encode(tmp_path / f"alpha{suffix}", [np.dstack([chart(), alpha])] * 3, codec=codec, pix_fmt=pix_fmt)
    expected = CHART * np.array([1, 1, 128 / 255, 128 / 255, 0, 0])[:, None]
    assert np.abs(patches(next(read_frames(path))) - expected).max() < 4
