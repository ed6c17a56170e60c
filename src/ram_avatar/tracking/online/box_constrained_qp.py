"""Box-constrained quadratic programs: an active-set Newton method on the normal equations, for facial actions."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_ITERATIONS = 40  # at most; from the last frame's solution, two or three usually suffice
_CONVERGED = 1e-6


def solve_box_qp(hessian: Array, gradient: Array, start: Array, low: float = 0.0, high: float = 1.0) -> Array:
    """Return the x [A] in [low, high] that minimizes x H x / 2 + g x.

    Args:
        hessian: [A, A], positive definite.
        gradient: [A] at zero.
        start: [A] in the box.
    """
    x = start
    for _ in range(_ITERATIONS):
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
        # The whole step, clipped to the box; or only as far as the first side, which always descends, but slowly.
        clipped = np.clip(x + step, low, high) - x
        moving = step != 0
        room = np.where(step > 0, high - x, low - x)[moving] / step[moving]
        first = step * min(1.0, room.min(initial=1.0))
        moved = min(clipped, first, key=lambda each: each @ (slope + hessian @ each / 2))
        x = x + moved
        if np.abs(moved).max() < _CONVERGED:
            break
    return x
