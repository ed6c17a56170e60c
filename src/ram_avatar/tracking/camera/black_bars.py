"""Black bars beside or above the picture, as they stand about one that was made for another screen."""

from collections.abc import Iterable

import numpy as np

_BLACK = 24  # levels: video black is 16 in some files, and codecs add noise
_ALWAYS = 0.98  # of the frames
_THICK = 0.01  # of the picture: dark rows that are fewer are an edge of the picture itself
_STEP = 12  # levels from the blackest of a bar to the picture
_OFTEN = 0.6  # of the frames in which a place beside a bar is not dark itself
_STRAIGHT = 0.6  # of a bar's length along which the picture ends there: people and lamps in the dark end otherwise
_EVEN = 2.5  # levels: deviation within a bar
_SOFT = 3  # pixels over which an edge may be blurred


def find_bars(frames: Iterable[np.ndarray]) -> tuple[int, int, int, int]:
    """Find the part of a video that is no black bar: left, top, right, bottom in pixels, right and bottom exclusive.

    A bar is black in all frames, even, and ends in a straight line. Its blurred edge is cut with it. Where there is
    a bar, width and height of the rest are even; where there is none, the whole frame is returned as it is.

    Args:
        frames: RGB [H, W, 3] uint8, of one size; a few dozen from all over the clip will do.

    Raises:
        ValueError: there is no frame.
    """
    count, mean, lit, dark = 0, 0.0, 0.0, [0, 0]
    for frame in frames:
        levels = frame.max(-1)
        count += 1
        mean = mean + levels
        lit = lit + (levels > _BLACK + _STEP)
        dark = [d + (np.percentile(levels, 99, axis=axis) <= _BLACK) for axis, d in enumerate(dark)]
    if not count:
        raise ValueError("no frame to look at")
    mean, lit = mean / count, lit / count
    columns, rows = (d >= _ALWAYS * count for d in dark)
    height, width = mean.shape
    if rows.all() or columns.all():
        return 0, 0, width, height
    thick = [int(np.argmin(side)) for side in (columns, rows, columns[::-1], rows[::-1])]
    bars = [0, 0, 0, 0]
    # One after the other, since bars at right angles end one another, but only where they are bars: the dark
    # about a person is none although it ends at that person on all four sides.
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
    """The picture turned so that each of its sides (left, top, right, bottom) lies at the left, without the bars above
    and below it."""
    height, width = picture.shape
    upright, level = picture[bars[1] : height - bars[3]], picture[:, bars[0] : width - bars[2]].T
    return [upright, level, upright[:, ::-1], level[:, ::-1]]


def _is_bar(mean: np.ndarray, thick: int, lit: np.ndarray) -> bool:
    """Whether the first columns are even, and along most of the side the picture begins right after them."""
    if not thick or mean.shape[1] <= thick + _SOFT or mean[:, :thick].std() > _EVEN:
        return False
    return float((lit[:, thick + _SOFT] >= _OFTEN).mean()) >= _STRAIGHT


def _blur(view: np.ndarray, bar: int) -> int:
    """How many columns after the bar are its blurred edge."""
    levels = view[:, bar : bar + _SOFT + 1].mean(0)
    return int((levels[:_SOFT] < 0.85 * levels[-1]).sum())
