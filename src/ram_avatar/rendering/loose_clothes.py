"""Finds clothes that hang about both thighs and span between them, such as skirts: no template has their shape."""

import cv2
import numpy as np
import torch

from ..body.template import SIDES, Body, BodyTemplate
from ..core.camera import Camera
from ..motion.motion import Motion
from .rasterizer import rasterize

SIZE = 256
"""Side of the close-ups to judge, in pixels."""
_OFF, _REACH = 2, 20  # pixels from the outline: the fit is off by less, and farther out there is something else
_PERSON = 127  # of 255: mask value from which a pixel is the person
_LEAST_AREA = 50  # pixels of thigh: of fewer, nothing can be told
_QUANTILE = 0.8  # of the frames: a skirt spans a gap only when the legs are apart
_LOOSE = 0.12  # measured: skirts .23, trousers and tights up to .03


class SkirtGauge:
    """Compares a person's mattes with the template's outline at the thighs.

    Args:
        body: of `template`, with the person's identity.
    """

    def __init__(self, template: BodyTemplate, body: Body):
        self._faces, self._body = template.faces, body
        roles = [f"{role}.{side}" for role in ("thigh", "thigh_twist") for side in SIDES]
        self._thighs = template.role_weight(*roles)[:, None]
        self._shares: list[float] = []

    @torch.no_grad()
    def add(self, mask: np.ndarray, motion: Motion, camera: Camera) -> None:
        """Add a close-up's person mask [S, S] uint8, `SIZE` on a side, with its one-frame motion and camera."""
        vertices = self._body.pose(*motion.parameters()).vertices
        drawn = rasterize(camera.project(vertices), self._faces, camera.height, camera.width)
        body = drawn.mask[0].cpu().numpy()
        thighs = drawn.interpolate(self._thighs, self._faces)[0, ..., 0].cpu().numpy() > 0.5
        if thighs.sum() < _LEAST_AREA:
            return
        away = lambda part: cv2.distanceTransform((~part).astype(np.uint8), cv2.DIST_L2, 5)
        distance = away(thighs)
        beside = (distance > _OFF) & (distance < _REACH) & (distance < away(body & ~thighs))
        self._shares.append(float((beside & ~body & (mask > _PERSON)).sum() / thighs.sum()))

    @property
    def loose(self) -> bool:
        """Whether the clothes about the thighs hang loose."""
        return len(self._shares) > 0 and bool(np.quantile(self._shares, _QUANTILE) > _LOOSE)
