"""Layers that several networks share: equalized and modulated convolutions, Haar wavelets, upsampling.

Weights are drawn from a unit Gaussian and scaled where they are used (equalized learning rate, Karras et al.,
"Progressive Growing of GANs", section 4.1), by He's constant for the leaky ReLU that follows, so that no
activation needs a gain of its own.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2
"""Of every leaky ReLU."""
RELU_GAIN = math.sqrt(2 / (1 + SLOPE**2))


def activate(x: Tensor) -> Tensor:
    """Leaky ReLU, in place: `x` must be a fresh result that nobody else reads."""
    return F.leaky_relu(x, SLOPE, inplace=True)


def upsample(x: Tensor, size: torch.Size | None = None) -> Tensor:
    """Bilinear upsampling of [B, C, H, W] to twice the size, or to a given (height, width)."""
    size = size or (2 * x.shape[2], 2 * x.shape[3])
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class EqualizedConv2d(nn.Module):
    """A convolution with "same" padding and equalized learning rate.

    Args:
        gain: RELU_GAIN where a leaky ReLU follows, 1 where nothing does.
        zero: start with all weights at zero.
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
        zero: bool = False,
    ):
        super().__init__()
        shape = (outputs, inputs, kernel, kernel)
        self.weight = nn.Parameter(torch.zeros(shape) if zero else torch.randn(shape))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.scale = gain / math.sqrt(inputs * kernel**2)
        self.stride, self.padding = stride, kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, self.bias, self.stride, self.padding)


class EqualizedLinear(nn.Module):
    """A fully connected layer with equalized learning rate, and a constant to start its bias from."""

    def __init__(self, inputs: int, outputs: int, *, bias: float = 0.0, gain: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.full((outputs,), bias))
        self.scale = gain / math.sqrt(inputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, self.bias)


class ModulatedConv2d(nn.Module):
    """A convolution whose input channels are scaled by a style (Karras et al., StyleGAN2, section 2.2).

    With modulation s (one number per input channel) and weights w[o, i, k], the weights used are

        w'[o, i, k] = s[i] w[o, i, k]        w''[o, i, k] = w'[o, i, k] / sqrt(sum_ik w'[o, i, k]^2)

    the second step, demodulation, only where `demodulate` is set.
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
        modulation = self.modulation(style).float()  # [S, inputs]
        weight = self.weight * self.scale
        norm = self._norm(weight, modulation)  # [S, outputs]
        if len(style) == 1:  # one style: scaling the weights is cheaper than scaling the features
            weight = weight * modulation[0, :, None, None] * norm[0, :, None, None, None]
            return F.conv2d(x, weight, self.bias, padding=self.padding)
        y = F.conv2d(x * modulation[:, :, None, None].to(x.dtype), weight, padding=self.padding)
        return torch.addcmul(self.bias[:, None, None].to(y.dtype), y, norm[:, :, None, None].to(y.dtype))

    def _norm(self, weight: Tensor, modulation: Tensor) -> Tensor:
        if not self.demodulate:
            return modulation.new_ones(len(modulation), len(weight))
        # Not a matrix product, which autocast would do in half precision.
        energy = (modulation.square()[:, None] * weight.square().sum((2, 3))).sum(2)  # [S, outputs]
        return RELU_GAIN * torch.rsqrt(energy + 1e-8)


def haar(x: Tensor) -> Tensor:
    """Orthonormal 2D Haar transform: [B, C, 2H, 2W] to [B, 4C, H, W].

    The channels are those of the average, then of the differences between rows, between columns, and of both.
    """
    a, b = x[..., ::2, ::2], x[..., ::2, 1::2]
    c, d = x[..., 1::2, ::2], x[..., 1::2, 1::2]
    return torch.cat([a + b + c + d, a + b - c - d, a - b + c - d, a - b - c + d], 1) / 2


def inverse_haar(x: Tensor) -> Tensor:
    """The inverse of `haar`: [B, 4C, H, W] to [B, C, 2H, 2W]."""
    average, rows, columns, both = x.chunk(4, 1)
    corners = [
        average + rows + columns + both,
        average + rows - columns - both,
        average - rows + columns - both,
        average - rows - columns + both,
    ]
    return F.pixel_shuffle(torch.stack(corners, 2).flatten(1, 2) / 2, 2)


class HaarConv2d(nn.Module):
    """A 1x1 convolution of the Haar transform of its input, [B, C, 2H, 2W] to [B, outputs, H, W].

    Both steps are linear: they are done as one 2x2 convolution of stride 2, and the transform, which has the
    size of the whole input, is never written to memory.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, 4 * inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale = RELU_GAIN / math.sqrt(4 * inputs)

    def forward(self, x: Tensor) -> Tensor:
        # The rows of an orthonormal transform are its inverse's columns: a filter over coefficients becomes a
        # filter over pixels by the inverse transform.
        kernel = inverse_haar(self.weight * self.scale)  # [outputs, inputs, 2, 2]
        return F.conv2d(x, kernel, self.bias, stride=2)
