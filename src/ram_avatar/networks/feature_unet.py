"""The face and hand feature networks (paper, section 3.1; supplement, figures 1 and 2)."""

import torch
from torch import Tensor, nn

from .layers import (
    EqualizedConv2d,
    HaarConv2d,
    activate,
    fold,
    upsample,
)


class FeatureUNet(nn.Module):
    """A shallow U-Net of five layers: two down, one across, two up. The last has no activation.

    Args:
        inputs, outputs: channels of the map and of its features.
        widths: channels at a half and at a quarter of the size.
    """

    def __init__(self, inputs: int, outputs: int, widths: tuple[int, int]):
        super().__init__()
        half, quarter = widths
        self.inputs = inputs
        self.down1 = HaarConv2d(inputs, half)
        self.down2 = EqualizedConv2d(half, quarter, stride=2)
        self.across = EqualizedConv2d(quarter, quarter)
        self.up1 = EqualizedConv2d(quarter + half, half)
        self.up2 = EqualizedConv2d(half, 4 * outputs, gain=1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to folded features [B, 4 * outputs, H/2, W/2]; H and W are multiples of four."""
        half = activate(self.down1(fold(x)))
        quarter = activate(self.down2(half))
        y = activate(self.across(quarter))
        y = activate(self.up1(torch.cat([upsample(y), half], 1)))
        return self.up2(y)
