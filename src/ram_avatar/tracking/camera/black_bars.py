"""Black bars beside or above the picture, left from a change of aspect ratio."""

from collections.abc import Iterable
from itertools import chain

import numpy as np

_BLACK = 24  # levels: video black is 16 in some files, and codecs add noise
_ALWAYS = 0.98  # of the frames
_THICK = 0.01  # of the frame: fewer dark rows are an edge of the picture itself
_STEP = 12  # levels from the brightest that counts as black to the picture
_OFTEN = 0.6  # of the frames in which a place beside a bar is lit
_STRAIGHT = 0.6  # of a bar's length along which the picture begins right after it, unlike people and lamps in the dark
_EVEN = 2.5  # levels: standard deviation within a bar
_SOFT = 3  # pixels over which an edge may be blurred


def find_bars(frames: Iterable[np.ndarray]) -> tuple[int, int, int, int]:
    """Find the picture within black bars: left, top, right, bottom in pixels, right and bottom exclusive.

    A bar is black in all frames, even, and ends in a straight line. Its blurred edge is cut with it. If there is a bar,
    width and height of the rest are even; otherwise the whole frame is returned as it is.

    Args:
        frames: RGB [H, W, 3] uint8, of one size; a few dozen from all over the clip suffice.

    Raises:
        ValueError: there is no frame.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ValueError("no frame to look at")
    height, width = first.shape[:2]
    count, mean, lit = 0, np.zeros((height, width)), np.zeros((height, width))
    dark = [np.zeros(width), np.zeros(height)]  # frames in which columns and rows are
    for frame in chain([first], frames):
        levels = frame.max(-1)
        count += 1
        mean += levels
        lit += levels > _BLACK + _STEP
        for axis in (0, 1):
            dark[axis] += np.percentile(levels, 99, axis=axis) <= _BLACK
    mean, lit = mean / count, lit / count
    columns, rows = (d >= _ALWAYS * count for d in dark)
    if rows.all() or columns.all():
        return 0, 0, width, height
    thick = [int(np.argmin(side)) for side in (columns, rows, columns[::-1], rows[::-1])]
    bars = [0, 0, 0, 0]
    # One after the other, since bars at right angles end at each other; the dark around a person ends at that person on
    # all four sides and is no bar.
    for _ in bars:
        sides = zip(thick, bars, _views(mean, bars), _views(lit, bars), strict=True)
        found = [0 if known or not _is_bar(m, n, s) else n for n, known, m, s in sides]
        if not any(found):
            break
        best = int(np.argmax(found))
        bars[best] = found[best]
    if not any(bar >= _THICK * extent for bar, extent in zip(bars, (width, height) * 2, strict=True)):
        return 0, 0, width, height
    left, top, right, bottom = (b and b + _blur(m, b) for b, m in zip(bars, _views(mean, bars), strict=True))
    if (width - left - right) % 2:
        left, right = (left + 1, right) if left > right else (left, right + 1)
    if (height - top - bottom) % 2:
        top, bottom = (top + 1, bottom) if top > bottom else (top, bottom + 1)
    return left, top, width - right, height - bottom


def _views(picture: np.ndarray, bars: list[int]) -> list[np.ndarray]:
    """The image turned so that each side in turn (left, top, right, bottom) is on the left.

    Without the bars above and below it.
    """
    height, width = picture.shape
    upright, level = picture[bars[1] : height - bars[3]], picture[:, bars[0] : width - bars[2]].T
    return [upright, level, upright[:, ::-1], level[:, ::-1]]


def _is_bar(mean: np.ndarray, thick: int, lit: np.ndarray) -> bool:
    """Whether the first columns are even, and the picture begins right after them along most of the side."""
    if not thick or mean.shape[1] <= thick + _SOFT or mean[:, :thick].std() > _EVEN:
        return False
    return float((lit[:, thick + _SOFT] >= _OFTEN).mean()) >= _STRAIGHT


def _blur(view: np.ndarray, bar: int) -> int:
    """How many columns after the bar are its blurred edge."""
    levels = view[:, bar : bar + _SOFT + 1].mean(0)
    return int((levels[:_SOFT] < 0.85 * levels[-1]).sum())
