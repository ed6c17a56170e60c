"""Frames of any video file, as upright RGB arrays at a constant rate.

Files are decoded in a confined process each (`untrusted`), since they may come from anyone.
"""

import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import UserError
from ..core.untrusted.files import check_regular
from .decoding import VideoInfo
from .untrusted import Decoder

ROTATIONS = (0, 90, 180, 270)


def probe(path: str | Path, rotate: int = 0) -> VideoInfo:
    """Inspect a video: read the time stamps of the whole file and decode its first frame.

    The rate is the header's if it agrees with the time stamps to half a frame over the whole clip, else the mean
    rate of the time stamps (some recorders write 1000 fps into the header). Raw H.264 and HEVC streams have no time
    stamps: their rate is the one they state, or a guess.

    Args:
        rotate: 0, 90, 180 or 270 degrees clockwise, for a video filmed sideways without a rotation tag.

    Raises:
        UserError: the file is missing, a folder, empty, unreadable, not a video, too large, or cut short; `rotate` is
            another angle.
    """
    decoder = _start("probe", Path(path), rotate)
    try:
        return _info(decoder.info(), Path(path), rotate)
    finally:
        decoder.close()


def rate_note(info: VideoInfo) -> str | None:
    """Return a line for the user if the frame rate is a guess, else None."""
    if not info.rate_is_guess:
        return None
    return (
        f"{info.path.name} states no frame rate: {info.fps:g} frames a second are assumed; if that is wrong, put it "
        f"into a container: ffmpeg -r RATE -i {info.path.name} -c copy {info.path.stem}.mp4"
    )


def read_frames(
    path: str | Path,
    *,
    start: int = 0,
    stop: int | None = None,
    step: int = 1,
    rotate: int = 0,
) -> Iterator[np.ndarray]:
    """Iterate over the frames of a video. Only a few are in memory at any time.

    * Constant rate: frame k is the one whose time stamp is nearest to k / fps after the first, with
      `probe(path).fps`. Frames of variable-rate videos are dropped or repeated, never blended.
    * Upright: the camera's rotation and mirroring (the display matrix) are applied, and non-square pixels are made
      square by enlarging the shorter side.
    * Colour: matrix and range as the file states; if unstated, BT.709 for HD and BT.601 below. HDR (PQ, HLG) is
      converted to BT.709 with reference white (203 cd/m2) as white.
    * Transparency is composited over black, as players do.

    Args:
        path: the video file.
        start, stop, step: which frames, as in a slice with non-negative indices. Frames left out are decoded (seeking
            is not exact in every container) but not converted, which takes most of the time.
        rotate: see `probe`.

    Returns:
        An iterator of (H, W, 3) uint8 RGB arrays.

    Raises:
        UserError: at once as in `probe`; while iterating, where a damaged part does not decode.
    """
    decoder = _start("frames", Path(path), rotate, start=start, stop=stop, step=step)
    try:
        _info(decoder.info(), Path(path), rotate)
    except BaseException:
        decoder.close()
        raise
    return _remaining(decoder)


def _start(kind: str, path: Path, rotate: int, **options: int | None) -> Decoder:
    if rotate not in ROTATIONS:
        raise UserError(f"a video can be rotated by 90, 180 or 270 degrees, not by {rotate}")
    check_regular(path, sys.maxsize)
    return Decoder(kind, path, str(path), rotate, **options)


def _remaining(decoder: Decoder) -> Iterator[np.ndarray]:
    try:
        while (made := decoder.next()) is not None:
            yield made[1]
    finally:
        decoder.close()


def _info(values: dict[str, Any], path: Path, rotate: int) -> VideoInfo:
    return VideoInfo(**{**values, "path": path, "rate": Fraction(values["rate"]), "rotate": rotate})
