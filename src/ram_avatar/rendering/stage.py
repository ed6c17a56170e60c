"""A floor, and a camera that follows a person about on it: any motion as pictures of a shaded body.

The floor has a line every half metre, takes the person's shadow and hides what sinks below it, so that one sees
whether feet stand.
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
_TILT = math.radians(12)  # how far the camera looks down
_WAIST = 0.9  # metres above the floor that it looks at
_NEAREST = 3.2  # metres
_FLESH = 0.13  # metres about the joints, and a margin
_SECONDS = 0.4  # the camera follows a mean over so long
_LINES, _LINE_WIDTH = 0.5, 0.015  # metres
_SKY, _FLOOR, _LINE, _SHADOW = 236.0, 214.0, 178.0, 0.72
_SUNK = 0.75  # how much of the floor one sees before what is below it
_SUNK_FROM = 0.01  # metres along the line of sight


@dataclass(frozen=True)
class Stage:
    """Where the camera stands in each of N frames of a motion."""

    template: BodyTemplate
    identity: Tensor  # [I]
    camera: Camera
    floor: float  # height (z), metres
    eyes: Tensor  # [N, 3] places of the camera, world axes

    @classmethod
    def around(cls, motion: Motion, template: BodyTemplate, identity: Tensor, size: int) -> "Stage":
        """A stage on which every joint of the motion is in the picture [size, size] in every frame."""
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
        """The stage of the chosen frames."""
        return replace(self, eyes=self.eyes[frames])

    def project(self, points: Tensor) -> Tensor:
        """World points [N, K, 3] of every frame to [N, K, 3]: x, y in pixels and the depth in metres."""
        return self.camera.project((points - self.eyes[:, None]) @ _tilt().T)

    @torch.no_grad()
    def draw(self, motion: Motion, tint: Color = BLUE) -> Iterator[np.ndarray]:
        """The N frames of a motion, this stage's own or another on the same ground: pictures [S, S, 3] uint8 RGB."""
        if len(motion) != len(self):
            raise ValueError(f"a stage of {len(self)} frames, but {len(motion)} of the motion")
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
        """[n, S, S] of meshes [n, V, 3], straight from above."""
        flat = torch.cat([vertices[..., :2], vertices.new_full((*vertices.shape[:2], 1), self.floor)], -1)
        points = self.camera.project((flat - eyes[:, None]) @ _tilt().T)
        drawn: Fragments = rasterize(points, self.template.faces, self.camera.height, self.camera.width)
        return drawn.mask.float().numpy()


class _Floor:
    """What a camera at a height above the floor sees of it."""

    def __init__(self, camera: Camera, height: float):
        rows, columns = np.mgrid[0.5 : camera.height, 0.5 : camera.width]
        rays = np.stack([columns - camera.center_x, np.full_like(rows, camera.focal), camera.center_y - rows], -1)
        rays = rays / camera.focal @ _tilt().numpy()  # of length 1 along the line of sight, world axes
        with np.errstate(divide="ignore"):
            self.depth = np.where(rays[..., 2] < 0, -height / rays[..., 2], np.inf)  # [S, S] metres
        near = np.where(np.isfinite(self.depth), self.depth, 0.0)[..., None]
        self._at = near * rays[..., :2]  # [S, S, 2] from below the camera
        # Metres of floor that a pixel takes, across and along the line of sight.
        self._pixel = near / camera.focal * [1.0, 1.0] * np.concatenate([np.ones_like(near), near / height], -1)
        self._blur = max(1, camera.width // 160)

    def behind(self, color: np.ndarray, depth: np.ndarray, shadow: np.ndarray, eye: np.ndarray) -> np.ndarray:
        """A body's colours [S, S, 3] at depths [S, S] on the floor with its shadow [S, S]: uint8."""
        away = np.abs((self._at + eye[:2] + _LINES / 2) % _LINES - _LINES / 2)  # from the nearest lines
        lines = np.clip((_LINE_WIDTH / 2 - away) / self._pixel.clip(1e-9) + 0.5, 0, 1)
        lines = (lines * np.clip(2 - 8 * self._pixel / _LINES, 0, 1)).max(-1)  # far lines would flicker
        ground = np.where(np.isfinite(self.depth), _FLOOR + (_LINE - _FLOOR) * lines, _SKY)
        ground = ground * (1 - (1 - _SHADOW) * cv2.GaussianBlur(shadow, (0, 0), self._blur))
        cover = np.where(depth > self.depth + _SUNK_FROM, 1 - _SUNK, 1.0) * np.isfinite(depth)
        return (ground[..., None] + cover[..., None] * (color - ground[..., None])).astype(np.uint8)


def _tilt() -> Tensor:
    """[3, 3] world axes to those of the camera, which looks down along its second one."""
    sine, cosine = math.sin(_TILT), math.cos(_TILT)
    return torch.tensor([[1.0, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
