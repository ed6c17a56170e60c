"""The drift of a texture that is aligned with itself: where all frames are off by the same, along the surface.

Frames can be aligned with each other, but not with the fit: the median that they are aligned with may lie anywhere
among them. A texture belongs where the fit has it on average, so what their offsets have in common is not theirs.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.camera import Camera
from ..rasterizer import vertex_normals

Array = np.ndarray

_SLANTED = 0.2  # cosine: of surface seen at a smaller one, offsets say little


def tangents(vertices: Tensor, faces: Tensor) -> Array:
    """Return two unit vectors [V, 2, 3] along the surface of a mesh at each vertex [V, 3]; they turn with it."""
    normals = vertex_normals(vertices[None], faces)[0]
    beside, corners = np.arange(len(vertices)), faces.numpy()
    for k in range(3):
        beside[corners[:, k]] = corners[:, (k + 1) % 3]  # of several, the last
    edge = vertices[beside] - vertices
    first = F.normalize(edge - (edge * normals).sum(1, keepdim=True) * normals, dim=1)
    return torch.stack([first, torch.linalg.cross(normals, first)], 1).numpy()


def projected(along: Array, camera: Camera, depth: Array) -> Array:
    """Return the pixels [V, 2, 2] by which steps of a metre along the surface [V, 2, 3] move points at depths [V]."""
    scale = camera.focal / depth.clip(0.05)[:, None]
    return np.stack([along[..., 0] * scale, -along[..., 2] * scale], 1)


def common_drift(
    offsets: Sequence[Array],
    moves: Sequence[Array],
    weights: Sequence[Array],
    along: Array,
    smooth: Callable[[Array, Array], Array],
) -> Array:
    """Return the steps along the surface [V, 2] that offsets of N frames have in common, metres.

    Args:
        offsets: N of [V, 2], pixels.
        moves: N of [V, 2, 2], see `projected`.
        weights: N of [V], of the offsets.
        along: [V, 2, 3] tangents in the pose in which steps of different vertices are compared.
        smooth: see `SurfaceFields.smoother`.
    """
    total, weight = np.zeros((len(along), 3)), np.zeros(len(along))
    for offset, move, sure in zip(offsets, moves, weights, strict=True):
        turned = move.swapaxes(1, 2)
        finest = np.square(move).sum((1, 2)).max()
        steps = np.linalg.solve(turned @ move + _SLANTED**2 * finest / 2 * np.eye(2), turned @ offset[..., None])
        total += sure[:, None] * (steps * along).sum(1)
        weight += sure
    drift = smooth(total / weight.clip(1e-6)[:, None], weight)
    return (along @ drift[..., None])[..., 0]
