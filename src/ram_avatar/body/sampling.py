"""Points spread evenly over a surface."""

import torch
from torch import Tensor


def farthest_points(points: Tensor, count: int, first: int = 0) -> Tensor:
    """Choose points far from one another: each the farthest from those chosen before (farthest point sampling).

    Y. Eldar et al., "The Farthest Point Strategy for Progressive Image Sampling", IEEE TIP 6(9), 1997.

    Args:
        points: [N, 3].
        count: how many to choose; all N in that order if there are fewer.
        first: index of the point to begin with.

    Returns:
        Indices, in order of choice.
    """
    chosen, distance = [first], points.new_full((len(points),), torch.inf)
    for _ in range(min(count, len(points)) - 1):
        distance = distance.minimum((points - points[chosen[-1]]).norm(dim=1))
        chosen.append(int(distance.argmax()))
    return torch.tensor(chosen, device=points.device)
