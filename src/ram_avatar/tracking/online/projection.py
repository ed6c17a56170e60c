"""Projection of points into the image and its Jacobian, in NumPy."""

import numpy as np
from numpy.typing import NDArray

from ...core.camera import Camera

Array = NDArray[np.float64]
_NEAREST = 0.05  # metres: nothing is nearer to the camera


def project(points: Array, camera: Camera) -> Array:
    """Return the pixels [K, 2] of points [K, 3] in the world, as `Camera.project` does."""
    scale = camera.focal / np.maximum(points[:, 1], _NEAREST)
    return np.stack([camera.center_x + points[:, 0] * scale, camera.center_y - points[:, 2] * scale], 1)


def projection_jacobian(points: Array, moves: Array, camera: Camera, height: float) -> Array:
    """Return the Jacobian [D, 2K] of projected points, all x before all y, in units of a person's height.

    Args:
        points: [K, 3] in the world.
        moves: [D, 3, K] their derivatives by D parameters.
        height: of the person, pixels.
    """
    unit = camera.focal / height / np.maximum(points[:, 1], _NEAREST)
    across, up = points[:, 0] / points[:, 1], points[:, 2] / points[:, 1]
    x = unit * (moves[:, 0] - across * moves[:, 1])
    y = unit * (up * moves[:, 1] - moves[:, 2])
    return np.concatenate([x, y], 1)
