"""A texture at several sizes, each half the previous one's, so that pictures of any size can sample it."""

import itertools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.camera import Lens

_LEAST = 32  # texels: the smallest level's side is at least half of it
_EVERY = 16  # vertices tell where a body is as well as all
_EARLY = 0.25  # of a level: textures up to 2^(1 - 0.25) times as fine as the pixels are sampled as they are


class TextureLevels:
    """A texture [3, T, T] and its halves.

    A picture samples one with about as many texels as it has pixels; a finer one would alias, and flicker in motion.

    Args:
        uv: [U, 2] texture coordinates.
        uv_faces: [F, 3] into them.
        vertices: [V, 3] of the body that the texture covers, metres.
        faces: [F, 3] into them.
    """

    def __init__(self, texture: Tensor, uv: Tensor, uv_faces: Tensor, vertices: Tensor, faces: Tensor):
        self.levels = [texture]
        while min(self.levels[-1].shape[1:]) > _LEAST:
            self.levels.append(F.avg_pool2d(self.levels[-1][None], 2, ceil_mode=True, count_include_pad=False)[0])
        flat = F.pad(uv, (0, 1))
        covered, surface = _area(flat, uv_faces), _area(vertices, faces)
        self._density = math.sqrt(covered / surface) * texture.shape[-1]  # texels per metre

    def suitable(self, lens: Lens, vertices: Tensor) -> Tensor:
        """Return the level for bodies [B, V, 3] that a camera sees, metres."""
        return self.levels[int(self.number(lens, vertices))]

    def number(self, lens: Lens, vertices: Tensor) -> Tensor:
        """Return the index of the `suitable` level, [] int32; it stays on the device."""
        depth = vertices[:, ::_EVERY, 1].mean().clamp(min=0.05)
        finer = self._density * depth / lens.values[0]  # texels per pixel
        return (finer.clamp(min=1e-9).log2() + _EARLY).floor().clamp(0, len(self.levels) - 1).int()

    def packed(self) -> tuple[Tensor, Tensor]:
        """Return the texels of all levels [N, 3], row by row, and where each starts, its rows and columns [L, 3]."""
        shapes = [(level.shape[1], level.shape[2]) for level in self.levels]
        starts = [0, *itertools.accumulate(rows * columns for rows, columns in shapes)]
        places = [(start, *shape) for start, shape in zip(starts, shapes, strict=False)]
        texels = torch.cat([level.flatten(1).T for level in self.levels])
        return texels, torch.tensor(places, dtype=torch.int32, device=texels.device)


def _area(points: Tensor, faces: Tensor) -> float:
    """Return the area of triangles [F, 3] between points [P, 3]."""
    a, b, c = points[faces].unbind(1)
    return float(torch.linalg.cross(b - a, c - a).norm(dim=1).sum() / 2)
