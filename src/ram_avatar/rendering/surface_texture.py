"""The warm start: a UV texture of the video's colours on the template's surface."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import functional as F

from ..body.template import BodyTemplate
from ..core.camera import Camera
from ..core.images import to_array
from ..motion.motion import Motion
from .rasterizer import Fragments
from .surface_filling import Origins
from .texels import Texels, sample_frame

SPREAD = 1 / 16  # of the image size: how far colours extend beyond the outline, at least
_OFTEN = 0.1  # of the frames: texels seen less often are seen badly, at a grazing angle or beside an outline
_PIECE = 1 << 15  # texels
_NEARBY = 0.05  # metres: they take the colours of texels this near that are seen more often
_WELL = 0.4  # cosine: so are those that no frame shows at a better angle


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


class SurfacePainter:
    """Gathers the colours of frames on the surface of a body. Each frame takes 1 MB at 512 texels."""

    def __init__(self, template: BodyTemplate, identity: Tensor, size: int = 512):
        self.texels = Texels(template, identity, size)
        self._samples: list[np.ndarray] = []  # [M, 3] uint8 per frame
        self._seen: list[np.ndarray] = []  # [M] bool per frame
        self._facing = np.zeros(len(self.texels), np.float32)  # cosine at which a texel was seen best

    @torch.no_grad()
    def add(self, frame: np.ndarray, mask: np.ndarray, motion: Motion, camera: Camera) -> None:
        """Add an RGB frame [H, W, 3] uint8 with its person mask [H, W] uint8, one-frame motion and camera."""
        vertices = self.texels.body.pose(*motion.parameters()).vertices
        view = self.texels.view(mask, vertices, float(motion.root_translation[0, 1]), camera)
        self._facing = np.maximum(self._facing, view.facing * view.seen)
        self._samples.append(sample_frame(frame, view.place))
        self._seen.append(view.seen)

    def texture(self) -> tuple[Tensor, Origins]:
        """Return the texture [3, T, T] in [-1, 1], and where its colours are from.

        Each texel has the median colour over the frames that show it. Unseen texels, and badly seen ones near well seen
        ones, are filled (`surface_filling`). Without any seen, all are gray.
        """
        (median,), views = masked_quantiles(self._samples, self._seen), np.sum(self._seen, axis=0)
        return complete(self.texels, median, views, self._facing, len(self._seen))


def complete(
    texels: Texels, colors: np.ndarray, views: np.ndarray, facing: np.ndarray, frames: int
) -> tuple[Tensor, Origins]:
    """Make a texture [3, T, T] in [-1, 1] of the colours [M, 3] that some of `frames` frames show, 0 to 255.

    Args:
        views: [M] number of frames that show a texel.
        facing: [M] cosine at which it was seen best.

    Returns:
        The texture, and where its colours are from.
    """
    if not views.any():
        return texels.to_picture(np.full_like(colors, 128.0)), Origins(seen=0.0)
    filler, few = texels.filler(), min(2, int(views.max()))
    often = views >= max(few, min(_OFTEN * frames, views.max()))
    well = often & (facing >= min(_WELL, facing[often].max()))
    rare = np.flatnonzero((views >= few) & ~well)
    nearest, _ = cKDTree(filler.points[well]).query(filler.points[rare], distance_upper_bound=_NEARBY)
    well[rare[np.isinf(nearest)]] = True
    colors, origins = filler.fill(colors, well)
    return texels.to_picture(colors), origins


def masked_quantiles(
    samples: Sequence[np.ndarray], seen: Sequence[np.ndarray], shares: Sequence[float] = (0.5,)
) -> np.ndarray:
    """Return quantiles [Q, M, 3] of N samples [M, 3] uint8 where they are seen [M]; 0 where none is."""
    quantiles = np.zeros((len(shares), len(samples[0]), 3), np.float32)
    known = np.flatnonzero(np.any(seen, axis=0))
    for start in range(0, len(known), _PIECE):  # to bound memory
        piece = known[start : start + _PIECE]
        shown = np.stack([each[piece] for each in seen])
        values = np.stack([each[piece] for each in samples])
        values[~shown] = 255
        values.sort(axis=0)  # unseen samples last
        for quantile, share in zip(quantiles, shares, strict=True):
            rank = ((shown.sum(0) - 1) * share).astype(int)
            quantile[piece] = np.take_along_axis(values, rank[None, :, None], 0)[0]
    return quantiles


def choose_frames(candidates: Iterable[int], most: int = 120) -> list[int]:
    """Choose at most `most` of the candidates, evenly spread."""
    candidates = list(candidates)
    if len(candidates) <= most:
        return candidates
    return [candidates[round(i)] for i in np.linspace(0, len(candidates) - 1, most)]
