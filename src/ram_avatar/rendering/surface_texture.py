"""The warm start: a UV texture of the video's colours on the template's surface."""

import math
from collections.abc import Iterable

import cv2
import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import functional as F

from ..body.template import BodyTemplate
from ..core.camera import Camera
from ..motion.motion import Motion
from .rasterizer import Fragments, rasterize, vertex_normals
from .surface_filling import Origins, SurfaceFiller

VISIBLE_WITHIN = 0.015  # metres: a texel this close to the drawn surface is visible
MIN_FACING = 0.2  # cosine: surfaces seen at a grazing angle have smeared colours
SPREAD = 1 / 16  # of the image size: how far colours extend beyond the outline, at least
_SHRINK = 0.008  # of the image size: width of the kernel that keeps samples clear of outlines
_OFTEN = 0.1  # of the frames: texels seen less often are seen badly, at a grazing angle or beside an outline
_NEARBY = 0.05  # metres: they take the colours of texels this near that are seen more often
_WELL = 0.4  # cosine: so are those that no frame shows at a better angle
_STEP = 0.1  # metres: a depth step within the kernel means one body part occludes another


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
        self.template, self.size = template, size
        self.body = template.body(identity)
        self.texel, self.triangle, self.barycentric = _texels(template, size)
        self._samples: list[np.ndarray] = []  # [M, 3] uint8 per frame
        self._seen: list[np.ndarray] = []  # [M] bool per frame
        self._facing = np.zeros(len(self.texel), np.float32)  # cosine at which a texel was seen best

    @torch.no_grad()
    def add(self, frame: np.ndarray, mask: np.ndarray, motion: Motion, camera: Camera) -> None:
        """Add an RGB frame [H, W, 3] uint8 with its person mask [H, W] uint8, one-frame motion and camera."""
        faces = self.template.faces
        posed = self.body.pose(*motion.parameters())
        points = camera.project(posed.vertices)
        drawn = rasterize(points, faces, camera.height, camera.width)
        normals = vertex_normals(posed.vertices, faces)
        facing = -(normals * F.normalize(posed.vertices, dim=-1)).sum(-1)[0]  # cosine towards the camera
        corners = faces[self.triangle]
        mix = lambda values: (values[corners] * self.barycentric[..., None]).sum(1)
        place = mix(points[0])
        x, y = place[:, 0].floor().long(), place[:, 1].floor().long()
        inside = (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height)
        x, y = x.clamp(0, camera.width - 1), y.clamp(0, camera.height - 1)
        shown = (place[:, 2] - drawn.depth[0, y, x]).abs() < VISIBLE_WITHIN
        # The outlines of mask and fit are a few pixels off, and beyond them is the background or another body part:
        # keep clear of them.
        width = max(3, round(_SHRINK * max(mask.shape))) | 1
        near = np.ones((width, width), np.uint8)
        person = torch.from_numpy(cv2.erode(mask, near))[y, x] > 160
        depth = drawn.depth[0].cpu().numpy()
        deep = np.where(drawn.mask[0].cpu().numpy(), depth, 0)
        whole = torch.from_numpy(cv2.dilate(deep, near) - cv2.erode(depth, near) < _STEP)[y, x]
        towards = mix(facing[:, None])[:, 0]
        seen = inside & shown & person & whole & (towards > MIN_FACING)
        self._facing = np.maximum(self._facing, (towards * seen).numpy())
        grid = torch.stack([place[:, 0] / camera.width, place[:, 1] / camera.height], -1) * 2 - 1
        picture = torch.from_numpy(frame).permute(2, 0, 1)[None].float()
        colors = F.grid_sample(picture, grid[None, None], align_corners=False)[0, :, 0].T
        self._samples.append(colors.round().clamp(0, 255).byte().numpy())
        self._seen.append(seen.numpy())

    def texture(self) -> tuple[Tensor, Origins]:
        """Return the texture [3, T, T] in [-1, 1], and where its colours are from.

        Each texel has the median colour over the frames that show it. Unseen texels, and badly seen ones near well seen
        ones, are filled (`surface_filling`). Without any seen, all are gray.
        """
        samples, seen = np.stack(self._samples), np.stack(self._seen)
        median = np.zeros((samples.shape[1], 3), np.float32)
        for start in range(0, len(median), 1 << 16):  # in pieces, to bound memory
            piece = slice(start, start + (1 << 16))
            median[piece] = _masked_median(samples[:, piece], seen[:, piece])
        views = seen.sum(0)
        if not views.any():
            return self._to_picture(np.full_like(median, 128.0)), Origins(seen=0.0)
        filler, few = self.filler(), min(2, int(views.max()))
        often = views >= max(few, min(_OFTEN * len(seen), views.max()))
        well = often & (self._facing >= min(_WELL, self._facing[often].max()))
        apart, _ = cKDTree(filler.points[well]).query(filler.points)
        colors, origins = filler.fill(median, well | ((views >= few) & (apart > _NEARBY)))
        return self._to_picture(colors), origins

    def filler(self) -> SurfaceFiller:
        """Return what fills gaps in this body's colours."""
        reference = self.body.reference_vertices().numpy()
        return SurfaceFiller(self.template, reference, self.triangle.numpy(), self.barycentric.numpy())

    def _to_picture(self, colors: np.ndarray) -> Tensor:
        """Write texel colours [M, 3], 0 to 255, into a texture [3, T, T] in [-1, 1]."""
        size = self.size
        picture = np.zeros((size * size, 3), np.float32)
        picture[self.texel] = colors
        filled = np.zeros(size * size, bool)
        filled[self.texel] = True
        # Gutters take the nearest texel, so bilinear sampling at seams never meets an empty one.
        _, (rows, columns) = distance_transform_edt(~filled.reshape(size, size), return_indices=True)
        picture = picture.reshape(size, size, 3)[rows, columns]
        return torch.from_numpy(picture).permute(2, 0, 1) / 127.5 - 1


def _masked_median(samples: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return the median over axis 0 of samples [N, M, 3] where seen [N, M]; 0 where none is."""
    values = np.where(seen[..., None], samples, 255).astype(np.uint8)
    values.sort(axis=0)  # unseen samples last
    middle = np.maximum(seen.sum(0) - 1, 0) // 2
    median = np.take_along_axis(values, middle[None, :, None], 0)[0].astype(np.float32)
    return np.where(seen.any(0)[:, None], median, 0)


def _texels(template: BodyTemplate, size: int) -> tuple[np.ndarray, Tensor, Tensor]:
    """Return the texels on the surface: flat index [M], triangle [M] and barycentric coordinates [M, 3]."""
    uv = template.uv
    flat = torch.stack([uv[:, 0] * size, (1 - uv[:, 1]) * size, torch.ones(len(uv))], -1)
    drawn = rasterize(flat[None].float(), template.uv_faces, size, size)
    picked = drawn.mask[0].flatten().nonzero().flatten()
    return picked.numpy(), drawn.triangle.flatten()[picked].long(), drawn.barycentric.flatten(0, 2)[picked]


def choose_frames(candidates: Iterable[int], most: int = 120) -> list[int]:
    """Choose at most `most` of the candidates, evenly spread."""
    candidates = list(candidates)
    if len(candidates) <= most:
        return candidates
    return [candidates[round(i)] for i in np.linspace(0, len(candidates) - 1, most)]
