"""The neural texture (method, section 2): features learned on three planes through the canonical body."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PLANES = ((0, 1), (1, 2), (2, 0))
"""The two canonical axes along the columns and along the rows of each plane."""


class NeuralTexture(nn.Module):
    """Three axis-aligned planes of features, looked up at canonical coordinates.

    Args:
        channels: of each plane.
        resolution: texels along each side of a plane; they span [-1, 1].
    """

    def __init__(self, channels: int, resolution: int):
        super().__init__()
        self.planes = nn.Parameter(0.1 * torch.randn(len(PLANES), channels, resolution, resolution))

    def forward(self, *positions: Tensor) -> list[Tensor]:
        """The body feature maps of position maps.

        Args:
            positions: each [B, 4, H, W]: canonical coordinates in [-1, 1], and the coverage mask {0, 1}.

        Returns:
            For each, [B, 3 * channels, H, W] in [-1, 1], 0 where nothing is covered; in channels-last order.
        """
        planes = self.planes.tanh()
        # A person covers a fifth of a picture, and looking up backwards is slow: where gradients are wanted,
        # only covered pixels are looked up. Without gradients the plain way costs little, and it exports.
        look_up = sample_covered if torch.is_grad_enabled() else sample
        return [look_up(planes, position) for position in positions]


def sample(planes: Tensor, position: Tensor) -> Tensor:
    """Look up every pixel of a position map, see `NeuralTexture.forward`."""
    batch, _, height, width = position.shape
    coordinates = position[:, :3].permute(0, 2, 3, 1).reshape(batch * height, width, 3)
    features = _bilinear(planes, coordinates).view(-1, batch, height, width)  # [3C, B, H, W]
    return (features.permute(1, 2, 3, 0) * position[:, 3, :, :, None]).permute(0, 3, 1, 2)


def sample_covered(planes: Tensor, position: Tensor) -> Tensor:
    """`sample`, at a cost that goes with the number of covered pixels."""
    batch, _, height, width = position.shape
    pixels = position.permute(0, 2, 3, 1).reshape(-1, 4)
    covered = pixels[:, 3].nonzero().squeeze(1)  # [N]
    features = _bilinear(planes, pixels[covered, :3][None]).squeeze(1).T  # [N, 3C]
    picture = features.new_zeros(len(pixels), features.shape[1]).index_copy(0, covered, features)
    return picture.view(batch, height, width, -1).permute(0, 3, 1, 2)


def _bilinear(planes: Tensor, coordinates: Tensor) -> Tensor:
    """Features [3C, H, W] of planes [3, C, R, R] at coordinates [H, W, 3] in [-1, 1]."""
    grid = torch.stack([coordinates[..., axes] for axes in PLANES])  # [3, H, W, 2]
    return F.grid_sample(planes, grid, padding_mode="border", align_corners=False).flatten(0, 1)
