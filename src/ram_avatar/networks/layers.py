"""Shared layers: equalized and modulated convolutions, Haar wavelets, upsampling.

Weights are drawn from a unit Gaussian and scaled at use (equalized learning rate, Karras et al.,
"Progressive Growing of GANs", section 4.1) by He's constant for the leaky ReLU that follows, so activations need no
gain of their own.
"""

import math
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2
"""Negative slope of every leaky ReLU."""
RELU_GAIN = math.sqrt(2 / (1 + SLOPE**2))

M = TypeVar("M", bound=nn.Module)


def channels_last(module: M) -> M:
    """Store the weights of a module in channels-last order, which is faster on CPUs and tensor cores."""
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this overload


def activate(x: Tensor) -> Tensor:
    """Apply the leaky ReLU in place; nothing else may read `x` afterwards."""
    return F.leaky_relu(x, SLOPE, inplace=True)


def upsample(x: Tensor, size: torch.Size | None = None) -> Tensor:
    """Upsample [B, C, H, W] bilinearly to twice the size, or to a given (height, width)."""
    target = size or (2 * x.shape[2], 2 * x.shape[3])
    return F.interpolate(x, size=target, mode="bilinear", align_corners=False)


def local_max(x: Tensor, width: int) -> Tensor:
    """Return the maximum of [B, C, H, W] over a square about each pixel, clipped at the borders; `width` is odd."""
    for kernel, padding in _lines(width):
        x = F.max_pool2d(x, kernel, 1, padding)
    return x


def local_mean(x: Tensor, width: int) -> Tensor:
    """Return the mean of [B, C, H, W] over a square about each pixel, clipped at the borders; `width` is odd."""
    for kernel, padding in _lines(width):
        x = F.avg_pool2d(x, kernel, 1, padding, count_include_pad=False)
    return x


def _lines(width: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return kernels and paddings of the two passes that make up a square of an odd width."""
    half = width // 2
    return [((1, width), (0, half)), ((width, 1), (half, 0))]


class Equalized(nn.Module):
    """A layer with equalized learning rate: it uses `scale * weight`."""

    weight: nn.Parameter
    scale: float


class EqualizedConv2d(Equalized):
    """A convolution with "same" padding and equalized learning rate.

    Args:
        gain: RELU_GAIN where a leaky ReLU follows, 1 otherwise.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        bias: bool = True,
        gain: float = RELU_GAIN,
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.scale = gain / math.sqrt(inputs * kernel**2)
        self.stride, self.padding = stride, kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.used_weight(), self.bias, self.stride, self.padding)

    def used_weight(self) -> Tensor:
        """Return the weight [outputs, inputs, k, k] of the equivalent plain convolution."""
        return self.weight * self.scale


class EqualizedLinear(Equalized):
    """A fully connected layer with equalized learning rate.

    Args:
        bias: initial value of the bias; None for no bias.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: float | None = 0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = None if bias is None else nn.Parameter(torch.full((outputs,), bias))
        self.scale = 1 / math.sqrt(inputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.used_weight(), self.bias)

    def used_weight(self) -> Tensor:
        """Return the weight [outputs, inputs] of the equivalent plain layer."""
        return self.weight * self.scale


class ModulatedConv2d(Equalized):
    """A convolution whose input channels are scaled by a style (Karras et al., StyleGAN2, section 2.2).

    With modulation s (one number per input channel) and weights w[o, i, k], the weights used are

        w'[o, i, k] = s[i] w[o, i, k]        w''[o, i, k] = w'[o, i, k] / sqrt(sum_ik w'[o, i, k]^2)

    The second step, demodulation (with the gain of the leaky ReLU that follows), applies only if `demodulate` is set.

    Args:
        zero: initialize all weights to zero.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, style_dim: int, *, demodulate: bool = True, zero: bool = False
    ):
        super().__init__()
        shape = (outputs, inputs, kernel, kernel)
        self.weight = nn.Parameter(torch.zeros(shape) if zero else torch.randn(shape))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.modulation = EqualizedLinear(style_dim, inputs, bias=1.0)
        self.scale = 1 / math.sqrt(inputs * kernel**2)
        self.demodulate, self.padding = demodulate, kernel // 2

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """
        Args:
            x: [B, inputs, H, W].
            style: [B, style_dim], or [1, style_dim] for the whole batch.

        Returns:
            [B, outputs, H, W].
        """
        if len(style) == 1:  # scaling the weights is cheaper than scaling the features
            return F.conv2d(x, self.used_weight(style), self.bias, padding=self.padding)
        modulation = self.modulation(style).float()  # [S, inputs]
        weight = self.weight * self.scale
        norm = self._norm(weight, modulation)  # [S, outputs]
        y = F.conv2d(x * modulation[:, :, None, None].to(x.dtype), weight, padding=self.padding)
        return torch.addcmul(self.bias[:, None, None].to(y.dtype), y, norm[:, :, None, None].to(y.dtype))

    def used_weight(self, style: Tensor) -> Tensor:
        """Return the weight [outputs, inputs, k, k] of the plain convolution for one style [1, style_dim]."""
        modulation = self.modulation(style).float()  # [1, inputs]
        weight = self.weight * self.scale
        return weight * modulation[0, :, None, None] * self._norm(weight, modulation)[0, :, None, None, None]

    def _norm(self, weight: Tensor, modulation: Tensor) -> Tensor:
        if not self.demodulate:
            return modulation.new_ones(len(modulation), len(weight))
        # Not a matrix product: autocast would run it in half precision.
        energy = (modulation.square()[:, None] * weight.square().sum((2, 3))).sum(2)  # [S, outputs]
        return RELU_GAIN * torch.rsqrt(energy + 1e-8)


def fold(x: Tensor) -> Tensor:
    """Move the pixels of 2x2 squares into channels: [B, C, 2H, 2W] to [B, 4C, H, W].

    Full-size maps that a convolution of stride 2 reads are kept folded: the content is the same, and convolutions are
    faster at that size. Channel k * C + c is channel c of pixel k of the square, in reading order.
    """
    batch, channels, height, width = x.shape
    squares = x.permute(0, 2, 3, 1).reshape(batch, height // 2, 2, width // 2, 2, channels)
    return squares.transpose(2, 3).reshape(batch, height // 2, width // 2, 4 * channels).permute(0, 3, 1, 2)


def unfold(x: Tensor) -> Tensor:
    """Invert `fold`: [B, 4C, H, W] to [B, C, 2H, 2W]."""
    return F.pixel_shuffle(x.unflatten(1, (4, -1)).transpose(1, 2).flatten(1, 2), 2)


def haar(x: Tensor) -> Tensor:
    """Apply the orthonormal Haar transform, its own inverse, to a folded map [B, 4C, ...].

    The output channels hold the average, then the differences between columns, between rows, and between both.
    """
    a, b, c, d = x.chunk(4, 1)
    return torch.cat([a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d], 1) / 2


class HaarConv2d(Equalized):
    """A convolution of stride 2: a 1x1 convolution of the Haar transform of a folded map.

    Both steps are linear, so the transform is applied to the few weights instead of to the map.

    Args:
        inputs: channels of the map before folding.
        fan_in: input channels of the whole sum if this layer is one term of a sum; default: `inputs`.
    """

    def __init__(self, inputs: int, outputs: int, *, fan_in: int | None = None, bias: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, 4 * inputs))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.scale = RELU_GAIN / math.sqrt(4 * (fan_in or inputs))

    def forward(self, folded: Tensor) -> Tensor:
        """Convolve a folded map [B, 4 * inputs, H, W] to [B, outputs, H, W]."""
        # On a channels-last map a 1x1 convolution is a matrix product, which is faster on CPUs.
        pixels = folded.permute(0, 2, 3, 1)
        return F.linear(pixels, self.used_weight(), self.bias).permute(0, 3, 1, 2)

    def used_weight(self) -> Tensor:
        """Return the weight [outputs, 4 * inputs] of the equivalent matrix product with a folded map."""
        return haar(self.weight * self.scale)
