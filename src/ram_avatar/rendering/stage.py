"""Shaded renderings of any motion on a floor, with a camera that follows the person.

The floor has a line every half metre, receives the person's shadow and hides what sinks below it, which shows whether
feet are planted.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from ..body.template import BodyTemplate
from ..core.camera import Camera
from ..motion.conversion.calibration import Reference
from ..motion.conversion.ground import find_floor
from ..motion.conversion.template_skeleton import TemplateSkeleton
from ..motion.motion import Motion
from .rasterizer import Fragments, rasterize
from .shading import BLUE, Color, shade

_POSED_AT_ONCE = 16
_TILT = math.radians(12)  # downward tilt of the camera
_WAIST = 0.9  # height above the floor that it looks at, metres
_NEAREST = 3.2  # smallest distance, metres
_FLESH = 0.13  # metres of flesh about the joints, with a margin
_SECONDS = 0.4  # standard deviation of the filter that smooths the camera's path
_LINES, _LINE_WIDTH = 0.5, 0.015  # metres
_SKY, _FLOOR, _LINE, _SHADOW = 236.0, 214.0, 178.0, 0.72
_SUNK = 0.75  # opacity of the floor before what is below it
_SUNK_FROM = 0.01  # metres along the line of sight


@dataclass(frozen=True)
class Stage:
    """The floor, and the camera's position in each of N frames of a motion."""

    template: BodyTemplate
    identity: Tensor  # [I]
    camera: Camera
    floor: float  # height (z), metres
    eyes: Tensor  # [N, 3] camera positions, world axes

    @classmethod
    def around(cls, motion: Motion, template: BodyTemplate, identity: Tensor, size: int) -> "Stage":
        """Place the camera so that every joint of the motion is in the image [size, size] in every frame."""
        reference, camera = Reference(template, identity), Camera.default(size, size)
        skeleton, floor = TemplateSkeleton(reference), find_floor(motion, reference)
        aims = motion.root_translation.clone()
        aims[:, :2] = torch.from_numpy(
            gaussian_filter1d(aims[:, :2].numpy(), _SECONDS * motion.fps, axis=0, mode="nearest")
        )
        aims[:, 2] = floor + _WAIST
        away, start = _NEAREST, 0
        for part in motion.batches(1024):
            seen = (skeleton.clip(part).forward()[1] - aims[start : start + len(part), None]) @ _tilt().T  # [n, J, 3]
            slope = camera.focal / (size / 2)
            needed = (seen[..., [0, 2]].abs() + _FLESH) * slope - seen[..., 1:2]
            away, start = max(away, float(needed.max())), start + len(part)
        return cls(template, identity, camera, floor, aims - away * _tilt()[1])

    def __len__(self) -> int:
        return len(self.eyes)

    def __getitem__(self, frames: slice | Tensor | list[int]) -> "Stage":
        """Select frames."""
        return replace(self, eyes=self.eyes[frames])

    def project(self, points: Tensor) -> Tensor:
        """Project world points [N, K, 3] of every frame to [N, K, 3]: x, y in pixels and depth in metres."""
        return self.camera.project((points - self.eyes[:, None]) @ _tilt().T)

    @torch.no_grad()
    def draw(self, motion: Motion, tint: Color = BLUE) -> Iterator[np.ndarray]:
        """Render N frames of a motion, this stage's own or another on the same floor: images [S, S, 3] uint8 RGB.

        Raises:
            ValueError: a motion of another length.
        """
        if len(motion) != len(self):
            raise ValueError(f"the stage has {len(self)} frames, but {len(motion)} of a motion were given")
        body, floor = self.template.body(self.identity), _Floor(self.camera, float(self.eyes[0, 2]) - self.floor)
        for start in range(0, len(self), _POSED_AT_ONCE):
            few = slice(start, start + _POSED_AT_ONCE)
            vertices = body.pose(*motion[few].parameters()).vertices
            eyes = self.eyes[few]
            colors, drawn = shade(self.template, (vertices - eyes[:, None]) @ _tilt().T, self.camera, tint)
            shadows = self._shadows(vertices, eyes)
            for eye, shadow, color, depth in zip(eyes, shadows, colors.numpy(), drawn.depth.numpy(), strict=True):
                yield floor.behind(color, depth, shadow, eye.numpy())

    def _shadows(self, vertices: Tensor, eyes: Tensor) -> np.ndarray:
        """Return the shadows [n, S, S] of meshes [n, V, 3], lit from straight above."""
        flat = torch.cat([vertices[..., :2], vertices.new_full((*vertices.shape[:2], 1), self.floor)], -1)
        points = self.camera.project((flat - eyes[:, None]) @ _tilt().T)
        drawn: Fragments = rasterize(points, self.template.faces, self.camera.height, self.camera.width)
        return drawn.mask.float().numpy()


class _Floor:
    """The floor as seen by a camera at some height above it."""

    def __init__(self, camera: Camera, height: float):
        rows, columns = np.mgrid[0.5 : camera.height, 0.5 : camera.width]
        rays = np.stack([columns - camera.center_x, np.full_like(rows, camera.focal), camera.center_y - rows], -1)
        rays = rays / camera.focal @ _tilt().numpy()  # length 1 along the line of sight, world axes
        with np.errstate(divide="ignore"):
            self.depth = np.where(rays[..., 2] < 0, -height / rays[..., 2], np.inf)  # [S, S] metres
        near = np.where(np.isfinite(self.depth), self.depth, 0.0)[..., None]
        self._at = near * rays[..., :2]  # [S, S, 2] from the point below the camera
        # Metres of floor per pixel, across and along the line of sight.
        self._pixel = near / camera.focal * [1.0, 1.0] * np.concatenate([np.ones_like(near), near / height], -1)
        self._blur = max(1, camera.width // 160)

    def behind(self, color: np.ndarray, depth: np.ndarray, shadow: np.ndarray, eye: np.ndarray) -> np.ndarray:
        """Composite a body's colours [S, S, 3] at depths [S, S] with the floor and its shadow [S, S]; uint8."""
        away = np.abs((self._at + eye[:2] + _LINES / 2) % _LINES - _LINES / 2)  # from the nearest lines
        lines = np.clip((_LINE_WIDTH / 2 - away) / self._pixel.clip(1e-9) + 0.5, 0, 1)
        lines = (lines * np.clip(2 - 8 * self._pixel / _LINES, 0, 1)).max(-1)  # fade out far lines, which would flicker
        ground = np.where(np.isfinite(self.depth), _FLOOR + (_LINE - _FLOOR) * lines, _SKY)
        ground = ground * (1 - (1 - _SHADOW) * cv2.GaussianBlur(shadow, (0, 0), self._blur))
        cover = np.where(depth > self.depth + _SUNK_FROM, 1 - _SUNK, 1.0) * np.isfinite(depth)
        return (ground[..., None] + cover[..., None] * (color - ground[..., None])).astype(np.uint8)


def _tilt() -> Tensor:
    """Return [3, 3], from world axes to those of the tilted camera, which looks along its second axis."""
    sine, cosine = math.sin(_TILT), math.cos(_TILT)
    return torch.tensor([[1.0, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
