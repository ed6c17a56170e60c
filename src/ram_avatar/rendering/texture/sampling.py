"""A texture drawn on the surface: its colours in a picture, over an image, and spread beyond the outline."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...body.template import BodyTemplate
from ...core.images import to_array
from ..rasterizer import Fragments

SPREAD = 1 / 16  # of the image size: how far colours extend beyond the outline, at least


def sample_texture(texture: Tensor, drawn: Fragments, uv: Tensor, uv_faces: Tensor) -> Tensor:
    """Sample a texture [3, T, T] where a mesh is drawn: colours [B, 3, H, W], 0 elsewhere.

    Args:
        uv: [U, 2] in [0, 1], v up (the texture's rows run down).
        uv_faces: [F, 3] into `uv`, in the order of the drawn faces.
    """
    batch, height, width = drawn.triangle.shape
    picked = drawn.mask.flatten().nonzero().flatten()
    triangle = drawn.triangle.flatten()[picked].long()
    corners = uv[uv_faces[triangle]]  # [M, 3, 2]
    place = (corners * drawn.barycentric.flatten(0, 2)[picked][..., None]).sum(1)
    grid = torch.stack([place[:, 0] * 2 - 1, 1 - place[:, 1] * 2], -1)
    colors = F.grid_sample(texture[None], grid[None, None], align_corners=False, padding_mode="border")[0, :, 0].T
    out = texture.new_zeros(batch * height * width, texture.shape[0])
    out[picked] = colors
    return out.view(batch, height, width, -1).permute(0, 3, 1, 2).contiguous()


def draw_over(image: np.ndarray, texture: Tensor, drawn: Fragments, template: BodyTemplate) -> np.ndarray:
    """Return an image [H, W, 3] uint8 with a template's textured surface over it, where it is drawn (one picture)."""
    colors = to_array(sample_texture(texture, drawn, template.uv, template.uv_faces)[0])
    return np.where(drawn.mask[0].cpu().numpy()[..., None], colors, image)


def coarsest_square(size: int) -> int:
    """Return the side in pixels of the coarsest squares that `spread_colors` averages over, for an image size."""
    return 2 ** math.ceil(math.log2(SPREAD * size))


def spread_colors(color: Tensor, mask: Tensor, size: int) -> Tensor:
    """Extend colours [B, C, h, w] beyond the outline of a mask [B, 1, h, w] of 0 and 1, at least `SPREAD` far.

    What the network adds to them then has no edge at the outline, from which the person's own is a few pixels off.
    Missing colours come from ever coarser means of the known ones (push-pull, Gortler et al. 1996, "The lumigraph",
    section 3.5); beyond about twice the distance they are 0.

    Args:
        size: of the whole image, of which these may be a crop aligned to `coarsest_square`.
    """
    level = torch.cat([color * mask, mask], 1)
    finer = []
    for _ in range(coarsest_square(size).bit_length() - 1):
        finer.append(level)
        level = F.avg_pool2d(level, 2, ceil_mode=True)
    filled = _mean(level)
    for level in reversed(finer):
        coarser = _mean(F.interpolate(filled, level.shape[-2:], mode="bilinear", align_corners=False))
        filled = level + (1 - level[:, -1:]) * coarser
    return filled[:, :-1]


def _mean(level: Tensor) -> Tensor:
    """Normalize sums, whose last channel is their weight, to means of weight 1, or 0 without weight."""
    return level / level[:, -1:].clamp(min=1e-6)
