"""Crops close-ups out of a capture's frames: the squares that follow the person."""

import numpy as np

from ..body.template import BodyTemplate
from ..core.camera import Camera
from .capture import Capture


class CloseUpCropper:
    """The close-up of every frame of a capture (`rendering.framing`), at any size."""

    def __init__(self, capture: Capture, template: BodyTemplate):
        framing = capture.framing(template)
        self.squares = [framing.square(root) for root in capture.motion.root_translation.cpu().numpy()]
        self._scene, self._footage = capture.camera, capture.footage

    def camera(self, index: int, size: int) -> Camera:
        """Return the camera that sees the close-up of a frame at `size` x `size` pixels."""
        return self.squares[index].camera(self._scene, size)

    def cut(self, index: int, image: np.ndarray, size: int) -> np.ndarray:
        """Cut the close-up out of frame `index` or its mask [H, W(, C)]; returns [size, size(, C)], 0 outside it."""
        return self.squares[index].cut(image, size, self._footage.matrix(index))

    def inside(self, index: int, size: int) -> np.ndarray:
        """Return [size, size] bool: the pixels of the close-up that lie within the frame."""
        return self.squares[index].inside(*self._footage.size, size, self._footage.matrix(index))
