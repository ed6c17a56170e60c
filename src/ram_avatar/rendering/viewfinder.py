"""Which part of the scene an output video shows, and at which size."""

import re
from dataclasses import dataclass

import numpy as np

from ..core.errors import UserError

FRAMES = ("source", "square", "portrait")
_ASPECTS = {"square": (1, 1), "portrait": (9, 16)}
_SMALLEST, _LARGEST = 16, 8192  # pixels of a side
_EXPLICIT = re.compile(r"(\d{1,5})x(\d{1,5})", re.IGNORECASE)


@dataclass(frozen=True)
class Viewfinder:
    """A rectangle of the scene.

    Attributes:
        scene: width and height of the rendered scene, pixels.
        left, top, width, height: of the rectangle, in the same pixels.
    """

    scene: tuple[int, int]
    left: int
    top: int
    width: int
    height: int

    @classmethod
    def of(
        cls, scene: tuple[int, int], frame: str = "source", size: int | None = None, middle: float = 0.5
    ) -> "Viewfinder":
        """Choose the rectangle.

        Args:
            scene: width and height of the avatar's training video.
            frame: "source" for the whole scene; "square", "portrait" (9:16) or "WIDTHxHEIGHT" for the largest part of
                that aspect.
            size: longer side of the result, pixels; default: no enlargement. Not with "WIDTHxHEIGHT".
            middle: what to centre on if the scene is wider than the frame, as a share of the scene's width.

        Raises:
            UserError: an unknown frame, or a size out of range.
        """
        explicit = _EXPLICIT.fullmatch(frame)
        if not explicit and frame not in FRAMES:
            raise UserError(f"--frame is {', '.join(FRAMES)} or WIDTHxHEIGHT, not '{frame}'")
        if explicit and size is not None:
            raise UserError(f"--frame {frame} already sets the size; leave out --size")
        aspect = (int(explicit[1]), int(explicit[2])) if explicit else _ASPECTS.get(frame, scene)
        if not all(_SMALLEST <= side <= _LARGEST for side in aspect) and explicit:
            raise UserError(f"--frame {frame}: sides must be {_SMALLEST} to {_LARGEST} pixels")
        if size is not None and not _SMALLEST <= size <= _LARGEST:
            raise UserError(f"--size {size}: must be {_SMALLEST} to {_LARGEST} pixels")
        zoom = min(scene[0] / aspect[0], scene[1] / aspect[1])
        part = aspect[0] * zoom, aspect[1] * zoom  # in pixels of the scene
        scale = aspect[0] / part[0] if explicit else 1.0 if size is None else size / max(part)
        if frame == "source" and size is None:
            return cls(scene, 0, 0, *scene)
        width, height = aspect if explicit else (_even(part[0] * scale), _even(part[1] * scale))
        rendered = max(width, round(scene[0] * scale)), max(height, round(scene[1] * scale))
        left = min(max(0, round(middle * rendered[0] - width / 2)), rendered[0] - width)
        return cls(rendered, left, (rendered[1] - height) // 2, width, height)

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Crop the rectangle from an image of the scene [H, W, C]."""
        part = picture[self.top : self.top + self.height, self.left : self.left + self.width]
        return np.ascontiguousarray(part)


def _even(length: float) -> int:
    return max(2, 2 * round(length / 2))
