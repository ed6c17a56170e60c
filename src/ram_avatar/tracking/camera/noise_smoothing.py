"""Smooth what is measured frame by frame only as far as it is noise."""

import numpy as np
from scipy.linalg import solveh_banded

_STANDS_OUT = 3.0  # standard deviations


def even_out(values: np.ndarray, doubt: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Take the noise out of measured curves and leave what they do.

    A Whittaker smoother: a bend costs as much as bends of that size are rare among these curves. Where they bend
    by more than the noise, as with a hand that shakes, next to nothing changes; where they rest, much. A jump that
    stands out of the noise stays one.

    Args:
        values: [K, D] curves over time, of one unit.
        doubt: [K] standard deviation of the noise, above zero.
        frames: [K] their frame numbers, ascending; nothing is smoothed across a gap.
    """
    count = len(values)
    whole = (np.diff(frames, n=1)[1:] == 1) & (np.diff(frames)[:-1] == 1)  # bends without a gap in them
    if count < 5 or not whole.any():
        return values
    bends = np.diff(values, 2, axis=0)
    # The bends seen are the curve's own and the noise's, whose second difference has six variances.
    seen = float(np.median(np.abs(bends[whole])) / 0.6745) ** 2
    noise = 6 * float(np.median(doubt)) ** 2
    own = max(seen - noise, 0.02 * seen, 1e-12)
    jumps = (bends**2).max(1) - _STANDS_OUT**2 * noise
    cost, precision = whole / np.maximum(own, jumps), 1 / doubt**2
    bands = np.zeros((3, count))  # the upper half of diag(precision) + D' diag(cost) D, D the second difference
    bands[2] = precision
    for offset, factor in ((0, 1.0), (1, 4.0), (2, 1.0)):
        bands[2, offset : offset + count - 2] += factor * cost
    bands[1, 1:-1] -= 2 * cost
    bands[1, 2:] -= 2 * cost
    bands[0, 2:] += cost
    return solveh_banded(bands, precision[:, None] * values)
