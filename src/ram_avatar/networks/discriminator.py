"""The temporal-aware discriminator; see docs/method.md."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import NetworkConfig
from .layers import (
    EqualizedConv2d,
    EqualizedLinear,
    HaarConv2d,
    activate,
    fold,
)

FRAMES = 3
_SMOOTH = 1e-8
_HALF = 0.5**0.5


class TemporalDiscriminator(nn.Module):
    """Scores three consecutive frames: the middle one is real or generated, its neighbours are always real.

    A residual network like StyleGAN2's discriminator (Karras et al., 2020), on Haar wavelets of the frames.
    """

    def __init__(self, config: NetworkConfig):
        super().__init__()
        widths = config.discriminator_widths
        self.enter = HaarConv2d(3 * FRAMES, widths[0])
        self.blocks = nn.Sequential(*(ResidualBlock(fine, coarse) for fine, coarse in pairwise(widths)))
        self.merge = EqualizedConv2d(widths[-1] + 1, widths[-1])
        self.score = EqualizedLinear(widths[-1], 1)

    def forward(self, frames: Tensor) -> Tensor:
        """
        Args:
            frames: [B, 9, H, W] RGB of frames n-1, n and n+1, in [-1, 1].

        Returns:
            [B] scores, high for real.
        """
        x = self.blocks(activate(self.enter(fold(frames))))
        x = activate(self.merge(torch.cat([x, batch_deviation(x)], 1)))
        return self.score(x.mean((2, 3))).squeeze(1)


class ResidualBlock(nn.Module):
    """Two convolutions that halve the size, and a linear shortcut."""

    def __init__(self, fine: int, coarse: int):
        super().__init__()
        self.refine = EqualizedConv2d(fine, fine)
        self.down = EqualizedConv2d(fine, coarse, stride=2)
        self.skip = EqualizedConv2d(fine, coarse, 1, bias=False, gain=1.0)

    def forward(self, x: Tensor) -> Tensor:
        y = activate(self.down(activate(self.refine(x))))
        return (y + self.skip(F.avg_pool2d(x, 2))) * _HALF


def batch_deviation(x: Tensor) -> Tensor:
    """Measure how much the samples of a batch differ (Karras et al., "Progressive Growing of GANs", section 3).

    Args:
        x: [B, C, H, W].

    Returns:
        [B, 1, H, W]: standard deviation over the batch, averaged over channels and positions.
    """
    deviation = (x.float().var(0, correction=0) + _SMOOTH).sqrt().mean()
    return deviation.to(x.dtype).expand(len(x), 1, *x.shape[2:])
