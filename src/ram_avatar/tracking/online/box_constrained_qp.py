"""Least squares within a box, for the facial actions: an active-set Newton method on the normal equations."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_ROUNDS = 40  # from the last frame's answer, two or three are the rule
_SETTLED = 1e-6


def minimize_in_box(hessian: Array, gradient: Array, start: Array, low: float = 0.0, high: float = 1.0) -> Array:
    """The x [A] between `low` and `high` that makes x H x / 2 + g x smallest.

    Args:
        hessian: [A, A], positive definite.
        gradient: [A] at zero.
        start: [A] in the box.
    """
    x = start
    for _ in range(_ROUNDS):
        slope = hessian @ x + gradient
        free = ~(((x <= low) & (slope > 0)) | ((x >= high) & (slope < 0)))
        if not free.any():
            break
        step = np.zeros_like(x)
        while free.any():
            step[:] = 0.0
            step[free] = -np.linalg.solve(hessian[np.ix_(free, free)], slope[free])
            outward = ((x <= low) & (step < 0)) | ((x >= high) & (step > 0))
            if not outward.any():
                break
            free &= ~outward
        # To the sides of the box, all at once; or only to the first one, which always descends, but slowly.
        clipped = np.clip(x + step, low, high) - x
        moving = step != 0
        room = np.where(step > 0, high - x, low - x)[moving] / step[moving]
        first = step * min(1.0, room.min(initial=1.0))
        moved = min(clipped, first, key=lambda each: each @ (slope + hessian @ each / 2))
        x = x + moved
        if np.abs(moved).max() < _SETTLED:
            break
    return x
