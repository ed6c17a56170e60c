"""Points spread evenly over a surface."""

import numpy as np
import torch
from numpy.typing import NDArray


def farthest_points(vertices: NDArray[np.floating], among: NDArray[np.intp], count: int, first: int = 0) -> list[int]:
    """Return vertices far from one another: each the farthest from those before it (farthest point sampling).

    Args:
        vertices: [V, 3].
        among: indices of those to choose from.
        first: which of `among` to begin with.
    """
    points = torch.from_numpy(vertices[among])
    chosen, distance = [int(first)], torch.full((len(among),), torch.inf, dtype=points.dtype)
    for _ in range(min(count, len(among)) - 1):
        distance = torch.minimum(distance, (points - points[chosen[-1]]).square().sum(1))
        chosen.append(int(distance.argmax()))
    return among[chosen].tolist()
