"""Shaded renderings of the bare body template, for people to look at."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ..body.template import BodyTemplate
from ..core.camera import Camera
from ..motion.motion import Motion
from .rasterizer import Fragments, rasterize, vertex_normals

Color = tuple[float, float, float]  # RGB, 0 to 255
BLUE: Color = (110.0, 190.0, 250.0)
_LIGHT = (-0.35, -0.8, 0.5)  # direction towards the light, world axes
_AMBIENT = 0.3
_POSED_AT_ONCE = 16


@torch.no_grad()
def shaded(
    template: BodyTemplate, identity: Tensor, motion: Motion, camera: Camera, tint: Color = BLUE
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Render a motion as a shaded body: images [H, W, 3] uint8 RGB on black, with masks [H, W] bool."""
    body = template.body(identity)
    for part in motion.batches(_POSED_AT_ONCE):
        pictures, drawn = shade(template, body.pose(*part.parameters()).vertices, camera, tint)
        yield from zip(pictures.byte().numpy(), drawn.mask.numpy(), strict=True)


def shade(template: BodyTemplate, vertices: Tensor, camera: Camera, tint: Color = BLUE) -> tuple[Tensor, Fragments]:
    """Shade meshes [B, V, 3], lit from above the camera's left.

    Returns:
        Colours [B, H, W, 3], 0 to 255, and the fragments.
    """
    drawn = rasterize(camera.project(vertices), template.faces, camera.height, camera.width)
    normals = drawn.interpolate(vertex_normals(vertices, template.faces), template.faces)
    light = _AMBIENT + (1 - _AMBIENT) * (normals @ normals.new_tensor(_LIGHT)).clamp(0, 1)
    return (light * drawn.mask)[..., None] * normals.new_tensor(tint), drawn
