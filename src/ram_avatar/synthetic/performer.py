"""The built-in synthetic performer, rendered to video in place of a filmed person.

Tracking and training see only its frames; nothing outside this package knows how they are made.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..body.template import BodyTemplate
from ..core.camera import DEFAULT_FOCAL, Camera
from ..core.progress import SILENT, Progress, follow
from ..motion.motion import Motion
from ..rendering.rasterizer import rasterize, vertex_normals, visible
from ..video import GENERATED, VideoWriter
from .dress import dress, orthographic
from .options import DEFAULT_PERFORMER, PerformerName
from .performances import (
    DISTANCE,
    FLOOR,
    performance,
    performer_identity,
)
from .room import WALL, paint_room
from .wardrobe import OUTFITS, linear

BATCH = 8  # frames rendered together
SUPERSAMPLING = 2  # rays along each side of a pixel
NOISE = 0.006  # standard deviation of the film grain, relative to full white

Size = int | tuple[int, int]


class Performer:
    """A dressed body in a room.

    Args:
        template: the Anny template.
        seed: 0 is the performer of the documentation; others vary face, build and film grain.
        name: what the performer wears; see `SynthOptions`.
    """

    def __init__(self, template: BodyTemplate, seed: int = 0, name: PerformerName = DEFAULT_PERFORMER) -> None:
        self.template, self.seed = template, seed
        self.identity = performer_identity(template, seed)  # [I]
        self._dressed = dress(template, self.identity, OUTFITS[name])
        self._light = _AreaLight()

    @staticmethod
    def camera(size: Size) -> Camera:
        """Return the camera of frames of `size`: a side, or (width, height).

        The shorter side shows as much of the room as a square does, the longer side more.
        """
        width, height = (size, size) if isinstance(size, int) else size
        return Camera(DEFAULT_FOCAL * min(width, height), width / 2, height / 2, width, height)

    def room(self, size: Size) -> NDArray[np.uint8]:
        """Render the room without the performer, [H, W, 3] RGB."""
        return _to_srgb(torch.from_numpy(paint_room(self.camera(size)))).numpy()

    def render(self, motion: Motion, size: Size) -> Iterator[NDArray[np.uint8]]:
        """Render frames [H, W, 3] RGB of a motion."""
        return (frame for frame, _ in self.render_with_masks(motion, size))

    def render_with_masks(
        self, motion: Motion, size: Size, every: int = 1
    ) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        """Render frames as `render` does, each with its mask [H, W]: the performer's coverage of a pixel, 0 to 255.

        Args:
            every: render only every n-th frame; what swings has lived through the others.
        """
        camera = self.camera(size)
        room = torch.from_numpy(paint_room(camera))
        grain = np.random.default_rng(self.seed)
        swinging = itertools.islice(self._dressed.loose.follow(motion), 0, None, every)
        for some in motion[::every].batches(BATCH):
            with torch.no_grad():
                vertices = self._dressed.body.pose(*some.parameters()).vertices  # [B, V, 3]
                hanging = torch.stack(list(itertools.islice(swinging, len(some))))
                vertices = torch.cat([vertices, hanging], 1)
                rendered = self._render(vertices, camera, room)
            for image in rendered.numpy():
                color, mask = image[..., :3], image[..., 3]
                noise = grain.standard_normal((*mask.shape, 1), np.float32)
                noisy = (color + 255 * NOISE * noise + 0.5).clip(0, 255).astype(np.uint8)
                yield noisy, (mask + 0.5).astype(np.uint8)

    def _render(self, vertices: Tensor, camera: Camera, room: Tensor) -> Tensor:
        """Return [B, H, W, 4]: sRGB and the performer's coverage, in 0 .. 255, not rounded."""
        dressed, faces = self._dressed, self._dressed.faces
        lit, ground = self._light.shadows(vertices, faces, camera)
        normals = vertex_normals(vertices, faces)
        occlusion = dressed.occlusion[None, :, None].expand(len(vertices), -1, -1)
        scale = SUPERSAMPLING
        points = camera.project(vertices) * torch.tensor([scale, scale, 1.0])
        fragments = rasterize(points, faces, camera.height * scale, camera.width * scale)
        covered = fragments.mask.flatten().nonzero().squeeze(1)  # [N]
        triangle = fragments.triangle.flatten()[covered].long()
        weights = fragments.barycentric.view(-1, 3)[covered]

        def at_pixels(attributes: Tensor, corners: Tensor) -> Tensor:
            """Interpolate attributes [R, C] at the covered samples with corners [N, 3]; returns [N, C]."""
            values = attributes.index_select(0, corners.flatten()).view(len(corners), 3, -1)
            return (weights[..., None] * values).sum(1)

        frame = covered // fragments.triangle[0].numel()
        corners = faces[triangle] + (frame * vertices.shape[1])[:, None]
        surface = at_pixels(torch.cat([normals, occlusion, lit[..., None]], -1).flatten(0, 1), corners)
        toward = torch.where(dressed.two_sided[triangle] & _turned_away(points, faces)[frame, triangle], -1.0, 1.0)
        surface[:, :3] *= toward[:, None]
        albedo = self._albedo(at_pixels(dressed.uv, dressed.uv_faces[triangle]), dressed.layer[triangle], camera)
        person = fragments.barycentric.new_zeros(fragments.triangle.numel(), 4)
        shaded = self._light.shade(albedo, F.normalize(surface[:, :3], dim=-1), surface[:, 3:4], surface[:, 4:5])
        person[covered] = torch.cat([shaded, torch.ones(len(covered), 1)], 1)
        person = person.view(*fragments.triangle.shape, 4).permute(0, 3, 1, 2)
        person = F.avg_pool2d(person, scale).permute(0, 2, 3, 1)  # [B, H, W, 4], premultiplied
        behind = room * ground[..., None]
        coverage = person[..., 3:]
        color = _to_srgb(person[..., :3] + (1 - coverage) * behind, dtype=torch.float32)
        return torch.cat([color, 255 * coverage], -1)

    def _albedo(self, uv: Tensor, layer: Tensor, camera: Camera) -> Tensor:
        """Sample linear RGB [N, 3] at [N, 2] from the textures of the layers [N], no finer than the frame."""
        albedo = uv.new_empty(len(uv), 3)
        for number, texture in enumerate(self._dressed.textures):
            texture = texture.permute(2, 0, 1)[None]
            while texture.shape[-1] >= 4 * min(camera.width, camera.height):
                texture = F.avg_pool2d(texture, 2)
            here = (layer == number).nonzero().squeeze(1)
            grid = torch.stack([2 * uv[here, 0] - 1, 1 - 2 * uv[here, 1]], -1)
            albedo[here] = F.grid_sample(texture, grid[None, None], align_corners=False)[0, :, 0].T
        return albedo


class _AreaLight:
    """A window in front, to the left and above; ambient light, bright from above and warm from below; a rim light."""

    KEY, SKY, GROUND, RIM = (linear(c) for c in ("#fff1dc", "#dfe9f2", "#b79a80", "#e8f2ff"))
    TOWARD = (-0.42, -0.72, 0.72)
    SPREAD = 0.16
    SHADOW_SIZE = 256

    def __init__(self) -> None:
        toward = torch.tensor(self.TOWARD)
        turns = torch.tensor([[1.0, 0.3, 0], [-0.3, 0, 1.0], [-0.8, -0.2, -0.9]]) * self.SPREAD
        self._samples = F.normalize(F.normalize(toward, dim=0) + turns, dim=1)  # points of the window
        self._main = F.normalize(toward, dim=0)
        self._color = [torch.tensor(c, dtype=torch.float32) for c in (self.KEY, self.SKY, self.GROUND, self.RIM)]

    def shade(self, albedo: Tensor, normals: Tensor, occlusion: Tensor, lit: Tensor) -> Tensor:
        """Return the linear light reflected by a surface; all [N, 3] or [N, 1]."""
        key, sky, ground, rim = self._color
        cosine = normals @ self._main
        diffuse = ((cosine + 0.25) / 1.25).clamp(min=0)[:, None] * (0.15 + 0.85 * lit)
        upward = 0.5 + 0.5 * normals[:, 2:3]
        ambient = (ground + (sky - ground) * upward) * (0.25 + 0.75 * occlusion)
        edge = (normals[:, 1:2] + 0.35).clamp(min=0) ** 2 * (0.4 + 0.6 * normals[:, :1].clamp(min=0))
        reflected = albedo * (0.95 * key * diffuse + 0.42 * ambient)
        return reflected + 0.16 * edge * rim * (0.3 + albedo) * occlusion**3

    def shadows(self, vertices: Tensor, faces: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
        """Return the share of the window visible from each vertex [B, V], and the brightness of the room [B, H, W]."""
        size, span = self.SHADOW_SIZE, 2.5
        middle = _middle(vertices)
        lit = torch.zeros(vertices.shape[:2])
        low = (camera.height // 2, camera.width // 2)
        dark = torch.zeros(len(vertices), *low)
        for toward in self._samples:
            points = orthographic(vertices - middle, toward, size / span, size)
            lit += visible(points, rasterize(points, faces, size, size), tolerance=0.02)
            dark += self._shadow(vertices, toward, faces, camera)
        contact = self._shadow(_lowest(vertices), torch.tensor([0.0, 0.0, 1.0]), faces, camera)
        blur = min(camera.width, camera.height) / 512
        floor = 1 - 0.42 * _blurred(dark / len(self._samples), 3.0 * blur)
        floor *= 1 - 0.5 * _blurred(contact, 2.0 * blur)
        floor = F.interpolate(floor[:, None], (camera.height, camera.width), mode="bilinear", align_corners=False)
        return lit / len(self._samples), floor[:, 0]

    def _shadow(self, vertices: Tensor, toward: Tensor, faces: Tensor, camera: Camera) -> Tensor:
        """Return [B, H/2, W/2]: 1 where a body casts its shadow on the floor or, if that is nearer, the wall."""
        fall = (vertices[..., 2:] - FLOOR) / toward[2]
        fall = torch.minimum(fall, (WALL - vertices[..., 1:2]) / (-toward[1]).clamp(min=1e-6))
        points = camera.project(vertices - fall * toward) * torch.tensor([0.5, 0.5, 1.0])
        return rasterize(points, faces, camera.height // 2, camera.width // 2).mask.float()


def _turned_away(points: Tensor, faces: Tensor) -> Tensor:
    """Return [B, F]: which triangles of projected points [B, V, 3] show the camera their inside."""
    a, b, c = points[:, faces, :2].unbind(2)
    return torch.linalg.det(torch.stack([b - a, c - a], -1)) > 0  # clockwise in the image, where y is down


def _middle(vertices: Tensor, step: float = 0.5) -> Tensor:
    """Return [B, 1, 3]: the approximate centre of the bodies, in coarse steps; moving shadow maps flicker."""
    usual = torch.tensor([0.0, DISTANCE, FLOOR + 0.95])
    steps = ((vertices.mean(1, keepdim=True) - usual) / step).round()
    return usual + step * steps * torch.tensor([1.0, 1.0, 0.0])


def _lowest(vertices: Tensor, height: float = 0.05) -> Tensor:
    """Return the vertices near the floor; the others become NaN."""
    return torch.where(vertices[..., 2:] < FLOOR + height, vertices, torch.nan)


def _blurred(masks: Tensor, sigma: float) -> Tensor:
    return torch.from_numpy(np.stack([cv2.GaussianBlur(mask, (0, 0), sigma) for mask in masks.numpy()]))


def _to_srgb(linear_rgb: Tensor, dtype: torch.dtype = torch.uint8) -> Tensor:
    return (255 * linear_rgb.clamp(0, 1) ** (1 / 2.2)).to(dtype)


def write_performance(
    path: str | Path,
    performer: Performer,
    name: str,
    frames: int = 300,
    fps: float = 25.0,
    size: Size = 512,
    progress: Progress = SILENT,
) -> None:
    """Render the performance `name` (one of `PERFORMANCES`) to a video file.

    Raises:
        UserError: The performance does not exist, or the file cannot be written.
    """
    motion = performance(name, performer.template, frames, fps)
    camera = performer.camera(size)
    with VideoWriter(path, camera.width, camera.height, fps, metadata=GENERATED) as writer:
        label = f"Rendering the {name} performance"
        for frame in follow(performer.render(motion, size), progress, label, len(motion)):
            writer.write(frame)
