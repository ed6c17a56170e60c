"""The warm start: a UV texture of the video's colours on the template's surface."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from ...body.template import BodyTemplate
from ...core.camera import Camera
from ...motion.motion import Motion
from .filling import Origins
from .texels import Texels, sample_frame

_OFTEN = 0.1  # of the frames: texels seen less often are seen badly, at a grazing angle or beside an outline
_PIECE = 1 << 15  # texels
_NEARBY = 0.05  # metres: they take the colours of texels this near that are seen more often
_WELL = 0.4  # cosine: so are those that no frame shows at a better angle


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
        ones, are filled (`filling`). Without any seen, all are gray.
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
