"""Resampling along one axis, as a matrix of weights: differentiable, and the same on every device."""

import math

import torch
from torch import Tensor

_REACH = 2.0  # of the cubic kernel, in pixels


def weights(start: float, step: float, count: int, size: int, device: torch.device | None = None) -> Tensor:
    """Return the weights [count, size] of pixels in samples along an axis; each row sums to 1.

    Interpolation is cubic (Keys, "Cubic Convolution Interpolation", 1981). Samples farther apart than pixels average
    over as many pixels; beyond the edges the last pixel repeats.

    Args:
        start: where the first sample begins, in pixels from the first pixel's outer edge.
        step: distance of the samples, pixels.
        count: number of samples.
        size: number of pixels.
    """
    reach = math.ceil(_REACH * max(1.0, step))
    at = start + (torch.arange(count, device=device) + 0.5) * step
    at = at.clamp(-reach, size + reach)  # farther out there is nothing but the last pixel
    margin = 2 * reach
    pixels = torch.arange(-margin, size + margin, device=device) + 0.5
    weight = _cubic(((at[:, None] - pixels) / max(1.0, step)).abs())
    inner = weight[:, margin : margin + size].clone()
    inner[:, 0] += weight[:, :margin].sum(1)
    inner[:, -1] += weight[:, margin + size :].sum(1)
    return inner / inner.sum(1, keepdim=True)


def _cubic(distance: Tensor) -> Tensor:
    """Return Keys' kernel at absolute distances."""
    near = (1.5 * distance - 2.5) * distance.square() + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < _REACH, far, 0.0))
