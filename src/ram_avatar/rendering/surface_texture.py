"""The warm start: colours of the video gathered on the template's surface, as a UV texture."""

from collections.abc import Iterable

import cv2
import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import functional as F

from ..body.template import BodyTemplate
from ..camera import Camera
from ..motion.motion import Motion
from .rasterizer import Fragments, rasterize, vertex_normals

VISIBLE_WITHIN = 0.015  # metres: a texel this close to the drawn surface is on it
MIN_FACING = 0.2  # cosine: the surface seen from the side has smeared colours
_SHRINK = 0.008  # of the picture: how far inside the mask a colour is taken


def sample_texture(texture: Tensor, drawn: Fragments, uv: Tensor, uv_faces: Tensor) -> Tensor:
    """Colours [B, 3, H, W] of a texture [3, T, T] where a mesh is drawn, 0 elsewhere.

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


class SurfacePainter:
    """Gathers the colours of frames on the surface of a body. A frame takes 1 MB at 512 texels."""

    def __init__(self, template: BodyTemplate, identity: Tensor, camera: Camera, size: int = 512):
        self.template, self.camera, self.size = template, camera, size
        self.body = template.body(identity)
        self.texel, self.triangle, self.barycentric = _texels(template, size)
        self._samples: list[np.ndarray] = []  # [M, 3] uint8 and whether seen, per frame
        self._seen: list[np.ndarray] = []

    @torch.no_grad()
    def add(self, frame: np.ndarray, mask: np.ndarray, motion: Motion) -> None:
        """Gather from one RGB frame [H, W, 3] uint8 with its person mask [H, W] uint8 and its pose."""
        camera, faces = self.camera, self.template.faces
        posed = self.body.pose(*motion.parameters())
        points = camera.project(posed.vertices)
        drawn = rasterize(points, faces, camera.height, camera.width)
        normals = vertex_normals(posed.vertices, faces)
        facing = -(normals * F.normalize(posed.vertices, dim=-1)).sum(-1)[0]  # cosine towards the camera
        corners = faces[self.triangle]
        mix = lambda values: (values[corners] * self.barycentric[..., None]).sum(1)  # noqa: E731
        place = mix(points[0])
        x, y = place[:, 0].floor().long(), place[:, 1].floor().long()
        inside = (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height)
        x, y = x.clamp(0, camera.width - 1), y.clamp(0, camera.height - 1)
        shown = (place[:, 2] - drawn.depth[0, y, x]).abs() < VISIBLE_WITHIN
        # The mask's outline is coarse, and what lies just outside is background: keep clear of it.
        width = max(3, round(_SHRINK * max(mask.shape))) | 1
        person = torch.from_numpy(cv2.erode(mask, np.ones((width, width), np.uint8)))[y, x] > 160
        seen = inside & shown & person & (mix(facing[:, None])[:, 0] > MIN_FACING)
        grid = torch.stack([place[:, 0] / camera.width, place[:, 1] / camera.height], -1) * 2 - 1
        picture = torch.from_numpy(frame).permute(2, 0, 1)[None].float()
        colors = F.grid_sample(picture, grid[None, None], align_corners=False)[0, :, 0].T
        self._samples.append(colors.round().clamp(0, 255).byte().numpy())
        self._seen.append(seen.numpy())

    def texture(self) -> tuple[Tensor, float]:
        """The texture [3, T, T] in [-1, 1] and the share of the surface that no frame showed.

        Each texel has the median colour over the frames that show it; the unseen ones take the colours of
        the nearest seen surface.
        """
        samples, seen = np.stack(self._samples), np.stack(self._seen)
        median = np.zeros((samples.shape[1], 3), np.float32)
        for start in range(0, len(median), 1 << 16):  # masked medians in pieces: NaNs need floats
            piece = slice(start, start + (1 << 16))
            median[piece] = _masked_median(samples[:, piece], seen[:, piece])
        known = seen.sum(0) >= min(2, len(seen))
        if not known.any():
            known = seen.any(0)
        surface = self._surface_points()
        if known.any() and not known.all():
            distance, nearest = cKDTree(surface[known]).query(surface[~known], k=4)
            weight = 1 / (distance + 1e-4)
            filled = (median[known][nearest] * weight[..., None]).sum(1) / weight.sum(1, keepdims=True)
            median[~known] = filled
        elif not known.any():
            median[:] = 128.0
        return self._to_picture(median), float(1 - known.mean())

    def _surface_points(self) -> np.ndarray:
        reference = self.body.reference_vertices()
        return (reference[self.template.faces[self.triangle]] * self.barycentric[..., None]).sum(1).numpy()

    def _to_picture(self, colors: np.ndarray) -> Tensor:
        size = self.size
        picture = np.zeros((size * size, 3), np.float32)
        picture[self.texel] = colors
        filled = np.zeros(size * size, bool)
        filled[self.texel] = True
        # Gutters take the nearest texel, so that bilinear sampling at seams meets no empty one.
        _, (rows, columns) = distance_transform_edt(~filled.reshape(size, size), return_indices=True)
        picture = picture.reshape(size, size, 3)[rows, columns]
        return torch.from_numpy(picture).permute(2, 0, 1) / 127.5 - 1


def _masked_median(samples: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Median over axis 0 of samples [N, M, 3] where seen [N, M]; 0 where nothing is."""
    values = np.where(seen[..., None], samples, 255).astype(np.uint8)
    values.sort(axis=0)  # unseen samples last
    middle = np.maximum(seen.sum(0) - 1, 0) // 2
    median = np.take_along_axis(values, middle[None, :, None], 0)[0].astype(np.float32)
    return np.where(seen.any(0)[:, None], median, 0)


def _texels(template: BodyTemplate, size: int) -> tuple[np.ndarray, Tensor, Tensor]:
    """The texels that lie on the surface: flat index [M], triangle [M] and barycentric coordinates [M, 3]."""
    uv = template.uv
    flat = torch.stack([uv[:, 0] * size, (1 - uv[:, 1]) * size, torch.ones(len(uv))], -1)
    drawn = rasterize(flat[None].float(), template.uv_faces, size, size)
    picked = drawn.mask[0].flatten().nonzero().flatten()
    return picked.numpy(), drawn.triangle.flatten()[picked].long(), drawn.barycentric.flatten(0, 2)[picked]


def choose_frames(candidates: Iterable[int], most: int = 120) -> list[int]:
    """At most `most` of the candidates, evenly spread."""
    candidates = list(candidates)
    if len(candidates) <= most:
        return candidates
    return [candidates[round(i)] for i in np.linspace(0, len(candidates) - 1, most)]
