"""Mattes of a clip: the plate brought to where each frame sees it."""

import cv2
import numpy as np

from ...capture.footage import Footage
from ...rendering.framing import warp
from .mattes import Matting


class ClipMatting:
    """Makes the matte of each frame of a clip.

    Args:
        background: [H, W, 3] uint8 the plate; None where it is not known.
        known: [H, W] bool, where the plate is not a guess.
    """

    def __init__(self, footage: Footage, background: np.ndarray | None, known: np.ndarray):
        self._footage = footage
        self._fixed = Matting() if background is None else Matting(background, known)  # unless the camera moves
        self._plate = (background, known) if background is not None and footage.moves else None

    def __call__(self, index: int, frame: np.ndarray, mask: np.ndarray, mesh: np.ndarray) -> np.ndarray:
        """Return the matte [H, W] uint8 of a frame.

        Args:
            mask: [H, W] uint8, coarse.
            mesh: [h, w] bool, where the fitted mesh is in the scene, at any size.
        """
        size, to_scene = self._footage.size, self._footage.matrix(index)
        to_frame = np.eye(3) if to_scene is None else np.linalg.inv(to_scene)
        enlarge = np.diag([size[0] / mesh.shape[1], size[1] / mesh.shape[0], 1.0])
        mesh = warp(mesh.astype(np.uint8) * 255, to_frame @ enlarge, size) > 127
        return self._matting(to_frame)(frame, mask, mesh)

    def _matting(self, to_frame: np.ndarray) -> Matting:
        if self._plate is None:
            return self._fixed
        (background, known), size = self._plate, self._footage.size
        known = warp(known.astype(np.uint8) * 255, to_frame, size) > 250
        return Matting(warp(background, to_frame, size, cv2.INTER_CUBIC), known)
