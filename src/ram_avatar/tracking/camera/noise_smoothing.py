"""Smooths curves measured frame by frame by no more than their noise."""

import numpy as np
from scipy.linalg import solveh_banded

_JUMP = 3.0  # standard deviations of the noise


def smooth_noise(values: np.ndarray, noise: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Remove the noise from measured curves, and keep their motion.

    A Whittaker smoother whose penalty on second differences follows from how large those of the curves themselves are.
    Where they exceed the noise, as with a shaking hand, next to nothing changes; at rest, much. Jumps well above the
    noise are kept.

    Args:
        values: [K, D] curves over time, of one unit.
        noise: [K] its standard deviation, above zero.
        frames: [K] their frame numbers, ascending; nothing is smoothed across a gap.
    """
    count = len(values)
    whole = (np.diff(frames, n=1)[1:] == 1) & (np.diff(frames)[:-1] == 1)  # second differences without a gap
    if count < 5 or not whole.any():
        return values
    bends = np.diff(values, 2, axis=0)
    # Their variance is the curve's own plus the noise's, whose second difference has six variances.
    measured = float(np.median(np.abs(bends[whole])) / 0.6745) ** 2
    of_noise = 6 * float(np.median(noise)) ** 2
    own = max(measured - of_noise, 0.02 * measured, 1e-12)
    jumps = (bends**2).max(1) - _JUMP**2 * of_noise
    cost, precision = whole / np.maximum(own, jumps), 1 / noise**2
    bands = np.zeros((3, count))  # the upper half of diag(precision) + D' diag(cost) D, D the second difference
    bands[2] = precision
    for offset, factor in ((0, 1.0), (1, 4.0), (2, 1.0)):
        bands[2, offset : offset + count - 2] += factor * cost
    bands[1, 1:-1] -= 2 * cost
    bands[1, 2:] -= 2 * cost
    bands[0, 2:] += cost
    return solveh_banded(bands, precision[:, None] * values)
