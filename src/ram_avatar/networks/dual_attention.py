"""Dual attention (paper, section 3.2): frame n attends to frame n-1 and to its own expanded mesh."""

import torch
from torch import Tensor, nn

from .containers import ModuleDict
from .layers import (
    EqualizedConv2d,
    EqualizedLinear,
    HaarConv2d,
    activate,
    upsample,
)

KEY_SHARE = 4
"""Queries and keys have a quarter of the channels of the features."""


def distance_weight(size: int, power: float, device: torch.device | None = None) -> Tensor:
    """Return the distance function d(i, u) = 1 / (M(i, u)^p + 1) along a line (supplement, equation 1).

    A position attends to its own row and column only, so the Manhattan distance M is the distance along that line, in
    elements.

    Returns:
        [size, size]; all ones if `power` is 0, which disables the function.
    """
    if power == 0:
        return torch.ones(size, size, device=device)
    place = torch.arange(size, device=device, dtype=torch.float32)
    return 1 / ((place[:, None] - place).abs() ** power + 1)


class CrissCrossAttention(nn.Module):
    """Attention from every position to its row and column (Huang et al., CCNet, section 3.2).

    The result is added to the input with a learned gain that starts at zero. Time and memory are O(HW(H + W)).
    """

    def __init__(self, channels: int, distance_power: float):
        super().__init__()
        keys = max(1, channels // KEY_SHARE)
        self.query = EqualizedLinear(channels, keys, bias=None)
        self.key = EqualizedLinear(channels, keys, bias=None)
        self.value = EqualizedLinear(channels, channels, bias=None)
        self.gain = nn.Parameter(torch.zeros(()))
        self.distance_power = distance_power

    def forward(self, current: Tensor, other: Tensor) -> Tensor:
        """Attend from `current` (queries) to `other` (keys and values); all are [B, C, H, W]."""
        height, width = current.shape[2:]
        x, y = current.permute(0, 2, 3, 1), other.permute(0, 2, 3, 1)  # does not copy channels-last maps
        query, key, value = self.query(x), self.key(y), self.value(y)  # [B, H, W, C]
        row = _energy(query, key, self.distance_power)  # [B, H, W, W]
        column = _energy(query.transpose(1, 2), key.transpose(1, 2), self.distance_power)  # [B, W, H, H]
        # A position lies in its own row and column; count it once, in its row.
        itself = torch.eye(height, dtype=torch.bool, device=x.device)
        column = column.masked_fill(itself, -torch.inf).transpose(1, 2)
        weight = torch.cat([row, column], 3).softmax(3).to(value.dtype)  # [B, H, W, W + H]
        row, column = weight.split([width, height], 3)
        found = row @ value + (column.transpose(1, 2) @ value.transpose(1, 2)).transpose(1, 2)
        return torch.addcmul(x, found, self.gain.to(found.dtype)).permute(0, 3, 1, 2)


def _energy(query: Tensor, key: Tensor, distance_power: float) -> Tensor:
    """Return attention energies [..., N, N] in float32 between N positions along lines [..., N, C]."""
    energy = (query @ key.transpose(-1, -2)).float()
    return energy * distance_weight(energy.shape[-1], distance_power, energy.device)


class AttentionBranch(nn.Module):
    """Attention from the current frame's features to those of another map of the same body.

    Args:
        inputs: channels of the body feature maps.
        outputs: channels of the result, C4.
        widths: channels at a half and at a quarter of the size.
        distance_power: see `distance_weight`.
    """

    def __init__(self, inputs: int, outputs: int, widths: tuple[int, int], distance_power: float):
        super().__init__()
        half, quarter = widths
        self.down1 = HaarConv2d(inputs, half)
        self.down2 = EqualizedConv2d(half, quarter, stride=2)
        self.attention = CrissCrossAttention(quarter, distance_power)
        self.up = EqualizedConv2d(quarter, 4 * outputs, gain=1.0)

    def forward(self, current: Tensor, other: Tensor) -> Tensor:
        """Combine two folded maps [B, 4 * inputs, H/2, W/2] into one [B, 4 * outputs, H/2, W/2]."""
        x, reference = self.encode(current), self.encode(other)
        # The first pass gathers from the other map along rows and columns; the second spreads what the first found
        # along rows and columns again. Together they reach the whole map.
        x = self.attention(x, reference)
        x = self.attention(x, x)
        return self.up(upsample(x, current.shape[2:]))

    def encode(self, features: Tensor) -> Tensor:
        """Encode body features to [B, widths[1], H/4, W/4]."""
        return activate(self.down2(activate(self.down1(features))))


class DualAttention(nn.Module):
    """The sum of the branches, each with its own weights.

    Args:
        branches: keyed by the map that the current frame attends to.
    """

    def __init__(self, branches: dict[str, AttentionBranch]):
        super().__init__()
        self.branches = ModuleDict(branches)

    def forward(self, current: Tensor, others: dict[str, Tensor]) -> Tensor:
        """
        Args:
            current: [B, 4 * C3, H/2, W/2] body features of frame n, folded.
            others: body features of each branch's map.

        Returns:
            [B, 4 * C4, H/2, W/2], folded.
        """
        return sum(branch(current, others[name]) for name, branch in self.branches.items())
