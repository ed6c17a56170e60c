"""Dual attention (method, section 3): frame n looks at frame n-1, and at its own expanded mesh."""

import torch
from torch import Tensor, nn

from .layers import EqualizedConv2d, activate, upsample

KEY_SHARE = 4
"""Queries and keys have a quarter of the features' channels."""


def distance_weight(size: int, power: float, device: torch.device | None = None) -> Tensor:
    """The distance function d(i, u) = 1 / (M(i, u)^p + 1) along a line (supplement, equation 1).

    A position attends to its own row and column only, where the Manhattan distance M is the distance along
    that line, in elements.

    Returns:
        [size, size]; all ones where `power` is 0, which switches the function off.
    """
    if power == 0:
        return torch.ones(size, size, device=device)
    place = torch.arange(size, device=device, dtype=torch.float32)
    return 1 / ((place[:, None] - place).abs() ** power + 1)


class CrissCrossAttention(nn.Module):
    """Every position attends to its row and its column (Huang et al., CCNet, section 3.2).

    The attention is added to what it starts from with a learned gain that starts at zero. Time and memory are
    O(HW(H + W)).
    """

    def __init__(self, channels: int, distance_power: float):
        super().__init__()
        keys = max(1, channels // KEY_SHARE)
        self.query = EqualizedConv2d(channels, keys, 1, bias=False, gain=1.0)
        self.key = EqualizedConv2d(channels, keys, 1, bias=False, gain=1.0)
        self.value = EqualizedConv2d(channels, channels, 1, bias=False, gain=1.0)
        self.gain = nn.Parameter(torch.zeros(()))
        self.distance_power = distance_power

    def forward(self, current: Tensor, other: Tensor) -> Tensor:
        """Queries come from `current`, keys and values from `other`; all are [B, C, H, W]."""
        query, key, value = self.query(current), self.key(other), self.value(other)
        height, width = query.shape[2:]
        by_row = distance_weight(height, self.distance_power, query.device)[:, None]  # [H, 1, H]
        by_column = distance_weight(width, self.distance_power, query.device)  # [W, W]
        # The position itself lies in its row and in its column: it counts in its row.
        itself = torch.eye(height, dtype=torch.bool, device=query.device)[:, None]
        row = torch.einsum("bkhw,bkhu->bhwu", query, key).float() * by_column
        column = torch.einsum("bkhw,bkuw->bhwu", query, key).float() * by_row
        energy = torch.cat([row, column.masked_fill(itself, -torch.inf)], 3)  # [B, H, W, W + H]
        row, column = energy.softmax(3).to(value.dtype).split([width, height], 3)
        found = torch.einsum("bhwu,bchu->bchw", row, value) + torch.einsum("bhwu,bcuw->bchw", column, value)
        return torch.addcmul(current, found, self.gain.to(found.dtype))


class AttentionBranch(nn.Module):
    """Features of the current frame against those of another map of the same body.

    Args:
        inputs: channels of the body feature maps.
        outputs: C4.
        widths: channels at a half and at a quarter of the size.
        distance_power: see `distance_weight`.
    """

    def __init__(self, inputs: int, outputs: int, widths: tuple[int, int], distance_power: float):
        super().__init__()
        half, quarter = widths
        self.down1 = EqualizedConv2d(inputs, half, stride=2)
        self.down2 = EqualizedConv2d(half, quarter, stride=2)
        self.attention = CrissCrossAttention(quarter, distance_power)
        self.up = EqualizedConv2d(quarter, outputs, gain=1.0)

    def forward(self, current: Tensor, other: Tensor) -> Tensor:
        """Two [B, inputs, H, W] to [B, outputs, H, W]."""
        x, reference = self.encode(current), self.encode(other)
        # The first pass gathers from the other map along rows and columns. The second, along them again,
        # spreads what the first one found: the two reach the whole map.
        x = self.attention(x, reference)
        x = self.attention(x, x)
        # What comes from a quarter of the size has no detail that a convolution at full size would see.
        half = tuple((side + 1) // 2 for side in current.shape[2:])
        return upsample(self.up(upsample(x, half)), current.shape[2:])

    def encode(self, features: Tensor) -> Tensor:
        """Body features [B, inputs, H, W] to [B, widths[1], H/4, W/4]."""
        return activate(self.down2(activate(self.down1(features))))


class DualAttention(nn.Module):
    """The sum of the branches, each with weights of its own.

    Args:
        branches: by the name of the map that the current frame attends to.
    """

    def __init__(self, branches: dict[str, AttentionBranch]):
        super().__init__()
        self.branches = nn.ModuleDict(branches)

    def forward(self, current: Tensor, others: dict[str, Tensor]) -> Tensor:
        """
        Args:
            current: [B, C3, H, W] body features of frame n.
            others: for each branch, the body features [B, C3, H, W] of its map.

        Returns:
            [B, C4, H, W].
        """
        return sum(branch(current, others[name]) for name, branch in self.branches.items())
