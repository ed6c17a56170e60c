"""Least squares within a box, for the facial actions: an active-set Newton method on the normal equations."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_ROUNDS = 16
_SETTLED = 1e-6


def minimize_in_box(hessian: Array, gradient: Array, start: Array, low: float = 0.0, high: float = 1.0) -> Array:
    """The x [A] between `low` and `high` that makes x H x / 2 + g x smallest.

    Args:
        hessian: [A, A], positive definite.
        gradient: [A] at zero.
        start: [A] in the box; near the answer, a round or two are enough.
    """
    x = start
    for _ in range(_ROUNDS):
        slope = hessian @ x + gradient
        free = ~(((x <= low) & (slope > 0)) | ((x >= high) & (slope < 0)))
        if not free.any():
            break
        step = np.zeros_like(x)
        step[free] = -np.linalg.solve(hessian[np.ix_(free, free)], slope[free])
        # A clipped Newton step may climb: halve it until it does not.
        for share in (1.0, 0.5, 0.25, 0.125, 0.0625):
            moved = np.clip(x + share * step, low, high) - x
            if moved @ (slope + hessian @ moved / 2) <= 0:
                break
        x = x + moved
        if np.abs(moved).max() < _SETTLED:
            break
    return x
