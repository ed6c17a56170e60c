"""The neural texture: features learned on three planes through the canonical body; see docs/method.md."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import fold

PLANES = ((0, 1), (1, 2), (2, 0))
"""Canonical axes along the columns and the rows of each plane."""
_STEPS = (0.6180340, 0.7548777, 0.5698403)  # irrational enough that their multiples spread evenly


class NeuralTexture(nn.Module):
    """Three axis-aligned planes of features, looked up at canonical coordinates.

    Args:
        channels: per plane.
        resolution: texels along each side of a plane, which spans [-1, 1].
    """

    def __init__(self, channels: int, resolution: int):
        super().__init__()
        self.planes = nn.Parameter(0.1 * torch.randn(len(PLANES), channels, resolution, resolution))

    def forward(self, *positions: Tensor) -> list[Tensor]:
        """Look up the body feature maps of position maps.

        Args:
            positions: each [B, 4, H, W]: canonical coordinates in [-1, 1], and the coverage mask {0, 1}.

        Returns:
            For each, [B, 4 * 3 * channels, H/2, W/2] in [-1, 1], folded (see `layers.fold`), channels-last, 0 outside
            the mask.
        """
        planes = self.planes.tanh()
        sampler = sample if _static(positions[0]) else sample_covered
        return [sampler(planes, fold(position)) for position in positions]


def sample(planes: Tensor, position: Tensor) -> Tensor:
    """Look up every pixel of a folded position map, see `NeuralTexture.forward`."""
    pixels = position.permute(0, 2, 3, 1).reshape(-1, 4)
    coordinates, covered = pixels[:, :3], pixels[:, 3:]
    if torch.is_grad_enabled():
        coordinates = torch.where(covered > 0, coordinates, _anywhere(len(pixels), planes.device))
    return _to_map(look_up(planes, coordinates) * covered, position)


def sample_covered(planes: Tensor, position: Tensor) -> Tensor:
    """Do as `sample`, but only for covered pixels: a person covers about a fifth of an image."""
    pixels = position.permute(0, 2, 3, 1).reshape(-1, 4)
    covered = pixels[:, 3].nonzero().squeeze(1)  # [N]
    features = look_up(planes, pixels.index_select(0, covered))
    empty = features.new_zeros(len(pixels), features.shape[1])
    return _to_map(empty.index_copy_(0, covered, features), position)


def look_up(planes: Tensor, coordinates: Tensor) -> Tensor:
    """Return features [N, 3C] of planes [3, C, R, R] at coordinates [N, 3 or more] in [-1, 1]."""
    axes = coordinates[:, :3].unbind(1)  # indexing by a list of columns would copy an index tensor from the host
    grid = torch.stack([torch.stack([axes[i], axes[j]], 1) for i, j in PLANES])[:, None]  # [3, 1, N, 2]
    features = F.grid_sample(planes, grid, padding_mode="border", align_corners=False)  # [3, C, 1, N]
    return features.flatten(0, 2).T


def _anywhere(count: int, device: torch.device) -> Tensor:
    """Return coordinates [count, 3] all over [-1, 1].

    Pixels that show nothing all have coordinate 0. Their gradients are 0, but on a GPU they would all wait in line to
    be added to the same texel.
    """
    at = torch.arange(count, device=device)
    return torch.stack([(at * step).frac() * 2 - 1 for step in _STEPS], 1)


def _to_map(pixels: Tensor, position: Tensor) -> Tensor:
    """Reshape pixels [4BHW, C], ordered as a folded position map [B, 16, H, W], to a folded map [B, 4C, H, W]."""
    batch, _, height, width = position.shape
    return pixels.reshape(batch, height, width, -1).permute(0, 3, 1, 2)


def _static(position: Tensor) -> bool:
    """Tell whether shapes must not depend on the number of covered pixels.

    True for exported and compiled networks, on the meta device, which has no values, and on a GPU, which would have to
    synchronize.
    """
    return torch.compiler.is_compiling() or torch.jit.is_tracing() or position.device.type != "cpu"
