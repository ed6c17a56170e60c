"""The texels of a texture on the surface of a body: where frames show them, and in which colours."""

from dataclasses import dataclass
from functools import reduce

import cv2
import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torch.nn import functional as F

from ...body.template import BodyTemplate
from ...core.camera import Camera
from ..rasterizer import rasterize, vertex_normals
from .filling import SurfaceFiller

VISIBLE_WITHIN = 0.015  # metres: a texel this close to the drawn surface is visible
MIN_FACING = 0.2  # cosine: surfaces seen at a grazing angle have smeared colours
_SHRINK = 0.014  # metres: width of the kernel that keeps samples clear of outlines
_STEP = 0.1  # metres: a depth step within the kernel means one body part occludes another


@dataclass(frozen=True)
class View:
    """How a frame shows M texels."""

    place: np.ndarray  # [M, 2] in pixels
    seen: np.ndarray  # [M] bool
    facing: np.ndarray  # [M] cosine towards the camera
    scale: float  # pixels per metre, at the person's hips


class Texels:
    """The texels of a square texture that lie on the surface of a body, M of them."""

    def __init__(self, template: BodyTemplate, identity: Tensor, size: int):
        self.template, self.size = template, size
        self.body = template.body(identity)
        uv = template.uv
        flat = torch.stack([uv[:, 0] * size, (1 - uv[:, 1]) * size, torch.ones(len(uv))], -1)
        drawn = rasterize(flat[None].float(), template.uv_faces, size, size)
        picked = drawn.mask[0].flatten().nonzero().flatten()
        self.index = picked.numpy()  # [M] in the texture, row by row
        self.triangle = drawn.triangle.flatten()[picked].long()  # [M]
        self.barycentric = drawn.barycentric.flatten(0, 2)[picked]  # [M, 3]

    def __len__(self) -> int:
        return len(self.index)

    @torch.no_grad()
    def view(self, mask: np.ndarray, vertices: Tensor, hips: float, camera: Camera) -> View:
        """Return how a frame shows the texels.

        Args:
            mask: [H, W] uint8 the person.
            vertices: [1, V, 3] of the posed body, metres.
            hips: their depth, metres.
        """
        faces = self.template.faces
        points = camera.project(vertices)
        drawn = rasterize(points, faces, camera.height, camera.width)
        facing = towards_camera(vertices, faces)
        # One sum over corners for both: memory is what takes time here.
        values = torch.cat([points[0], facing[:, None]], 1)
        corners = (values[faces[:, k][self.triangle]] * self.barycentric[:, k : k + 1] for k in range(3))
        mixed = reduce(torch.add, corners)
        place, towards = mixed[:, :3], mixed[:, 3]
        x, y = place[:, 0].floor().long(), place[:, 1].floor().long()
        inside = (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height)
        x, y = x.clamp(0, camera.width - 1), y.clamp(0, camera.height - 1)
        shown = (place[:, 2] - drawn.depth[0, y, x]).abs() < VISIBLE_WITHIN
        # The outlines of mask and fit are a few pixels off, and beyond them is the background or another body part:
        # keep clear of them.
        scale = camera.focal / max(0.05, hips)
        width = max(3, round(_SHRINK * scale)) | 1
        near = np.ones((width, width), np.uint8)
        person = torch.from_numpy(cv2.erode(mask, near))[y, x] > 160
        depth = drawn.depth[0].cpu().numpy()
        deep = np.where(drawn.mask[0].cpu().numpy(), depth, 0)
        whole = torch.from_numpy(cv2.dilate(deep, near) - cv2.erode(depth, near) < _STEP)[y, x]
        seen = inside & shown & person & whole & (towards > MIN_FACING)
        return View(place[:, :2].numpy(), seen.numpy(), towards.numpy(), scale)

    def filler(self) -> SurfaceFiller:
        """Return what fills gaps in the texels' colours."""
        reference = self.body.reference_vertices().numpy()
        return SurfaceFiller(self.template, reference, self.triangle.numpy(), self.barycentric.numpy())

    def to_picture(self, colors: np.ndarray) -> Tensor:
        """Write texel colours [M, 3], 0 to 255, into a texture [3, T, T] in [-1, 1]."""
        size = self.size
        picture = np.zeros((size * size, 3), np.float32)
        picture[self.index] = colors
        filled = np.zeros(size * size, bool)
        filled[self.index] = True
        # Gutters take the nearest texel, so bilinear sampling at seams never meets an empty one.
        _, (rows, columns) = distance_transform_edt(~filled.reshape(size, size), return_indices=True)
        picture = picture.reshape(size, size, 3)[rows, columns]
        return torch.from_numpy(picture).permute(2, 0, 1) / 127.5 - 1


def towards_camera(vertices: Tensor, faces: Tensor) -> Tensor:
    """Return the cosine [V] between the normals of a mesh [1, V, 3] and the directions to the camera."""
    normals = vertex_normals(vertices, faces)
    return -(normals * F.normalize(vertices, dim=-1)).sum(-1)[0]


def sample_frame(frame: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Return the colours [M, 3] uint8 of a frame [H, W, 3] uint8 at places [M, 2] in pixels, interpolated cubically."""
    # OpenCV remaps at most 32,767 samples a row.
    width = 1024
    rows = -(-len(place) // width)
    grid = np.zeros((rows * width, 2), np.float32)
    grid[: len(place)] = place - 0.5
    x, y = (np.ascontiguousarray(grid[:, k].reshape(rows, width)) for k in (0, 1))
    return cv2.remap(frame, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE).reshape(-1, frame.shape[2])[
        : len(place)
    ]
