"""The close-up: a square that follows the person through the scene, the only part that the network paints.

Training, animation and live use the same rule. The square depends only on the position of the hips and on the camera,
so it moves as smoothly as the hips do, and a person is about equally large in it wherever they stand.
"""

from dataclasses import asdict, dataclass

import cv2
import numpy as np
import torch

from ..body.template import BodyTemplate
from ..core.camera import Camera
from ..core.images import for_opencv
from ..core.ranges import check_ranges

# In heights of the person.
_OVERHEAD = 0.22  # reach of raised hands above the head
_ASIDE = 0.55  # from the hips to the fingertips of an arm stretched sideways
_MARGIN = 0.03  # hair, shoes, errors of the fit
_NEARER = 0.15  # how much nearer to the camera than the hips toes and outstretched hands may be
_LEAST = 0.35  # smallest side about a person who leaves the frame, as a share of the full side
_EXTENT = (0.01, 1000.0)  # metres; what a framing may hold
_SMALLEST = 1e-3  # pixels of the scene; side of the square about somebody very far away
_SHRINKS = 0.8  # below this zoom, images are shrunk by area averaging first; interpolation alone would alias


@dataclass(frozen=True)
class Square:
    """A square of the scene, in scene pixels; it may extend beyond the frame."""

    left: float
    top: float
    side: float

    def camera(self, scene: Camera, size: int) -> Camera:
        """Return the camera that sees this square at `size` x `size` pixels."""
        return scene.crop(self.left, self.top, self.side, size)

    def times(self, zoom: float) -> "Square":
        """Return the same square of a scene `zoom` times as large."""
        return Square(self.left * zoom, self.top * zoom, self.side * zoom)

    def cut(self, image: np.ndarray, size: int, to_scene: np.ndarray | None = None) -> np.ndarray:
        """Crop the square from an image [H, W(, C)] to [size, size(, C)]; pixels beyond the image are 0.

        Args:
            to_scene: [3, 3] from image to scene pixels; default: the identity.
        """
        to_square = _matrix(size / self.side, -self.left, -self.top)
        return warp(image, to_square if to_scene is None else to_square @ to_scene, (size, size))

    def inside(self, width: int, height: int, size: int, to_scene: np.ndarray | None = None) -> np.ndarray:
        """Return [size, size] bool: the pixels of the square that an image of `width` x `height` fully covers."""
        return self.cut(np.full((height, width), 255, np.uint8), size, to_scene) > 252


@dataclass(frozen=True)
class Framing:
    """The rule by which the close-up follows a person.

    Attributes:
        camera: of the scene.
        above, below, aside: extent about the hips that the square must hold, metres; None to always show the whole
            scene, which then is square.

    Raises:
        ValueError: some are None but not all; an extent below a centimetre; the scene is not square though it must be;
            or its camera is not one for its size.
    """

    camera: Camera
    above: float | None = None
    below: float | None = None
    aside: float | None = None

    def __post_init__(self) -> None:
        given = [value is not None for value in (self.above, self.below, self.aside)]
        if any(given) != all(given):
            raise ValueError("above, below, aside: expected all three or none")
        if not any(given) and self.camera.width != self.camera.height:
            raise ValueError("above, below, aside: expected, as the scene is not square")
        check_ranges(self, dict.fromkeys(("above", "below", "aside"), _EXTENT))
        self.camera.check_lens()

    @classmethod
    @torch.no_grad()
    def of(cls, camera: Camera, template: BodyTemplate, identity: torch.Tensor) -> "Framing":
        """Make the rule for a person, with a square that holds them in any pose."""
        body = template.body(identity)
        hips = float(body.at_reference().joints[0, 0, 2, 3])
        heights = body.reference_vertices()[:, 2]
        low, high = float(heights.min()), float(heights.max())
        height = high - low
        above = high - hips + (_OVERHEAD + _MARGIN) * height
        return cls(camera, above, hips - low + _MARGIN * height, (_ASIDE + _MARGIN) * height)

    def square(self, root_translation: np.ndarray) -> Square:
        """Return the square about a person whose hips are at `root_translation` [3], metres.

        Only the visible part of their reach needs pixels, so the square is cropped to the frame.
        """
        camera = self.camera
        if self.above is None or self.below is None or self.aside is None:
            return Square(0.0, 0.0, float(camera.width))
        x, depth, z = (float(value) for value in root_translation)
        nearer = _NEARER * (self.above + self.below)
        scales = [camera.focal / max(depth - forward, 0.1 * depth, 0.05) for forward in (0.0, nearer)]
        ends = [
            (camera.center_x + along * scale, camera.center_y - up * scale)
            for scale in scales
            for along, up in ((x - self.aside, z - self.below), (x + self.aside, z + self.above))
        ]
        (low_x, low_y), (high_x, high_y) = np.min(ends, 0).tolist(), np.max(ends, 0).tolist()
        across, down = _seen(low_x, high_x, camera.width), _seen(low_y, high_y, camera.height)
        side = max(across[1] - across[0], down[1] - down[0], _SMALLEST)
        return Square((across[0] + across[1] - side) / 2, (down[0] + down[1] - side) / 2, side)

    def as_dict(self) -> dict[str, float | None]:
        """Return all fields but the camera, for a file."""
        return {name: value for name, value in asdict(self).items() if name != "camera"}


def warp(
    image: np.ndarray,
    matrix: np.ndarray,
    size: tuple[int, int],
    how: int = cv2.INTER_LINEAR,
    border: int = cv2.BORDER_CONSTANT,
) -> np.ndarray:
    """Warp an image by a homography between pixels, with pixel centres at half integers.

    Args:
        matrix: [3, 3] from image to result.
        size: width and height of the result.
        how: OpenCV's interpolation flag.
        border: OpenCV's border mode; by default pixels beyond the image are 0.
    """
    zoom = float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))
    if zoom < _SHRINKS:
        shape = max(1, round(image.shape[1] * zoom)), max(1, round(image.shape[0] * zoom))
        matrix = matrix @ np.diag([image.shape[1] / shape[0], image.shape[0] / shape[1], 1.0])
        image = cv2.resize(image, shape, interpolation=cv2.INTER_AREA)
    centred = for_opencv(matrix)
    if np.allclose(centred[2], (0, 0, 1), atol=1e-9):
        return cv2.warpAffine(image, centred[:2], size, flags=how, borderMode=border)
    return cv2.warpPerspective(image, centred, size, flags=how, borderMode=border)


def _matrix(zoom: float, right: float, down: float) -> np.ndarray:
    """Return [3, 3], a shift followed by a zoom."""
    return np.array([[zoom, 0.0, zoom * right], [0.0, zoom, zoom * down], [0.0, 0.0, 1.0]])


def _seen(low: float, high: float, size: int) -> tuple[float, float]:
    """Crop an interval to the frame, but keep at least `_LEAST` of it, on the frame's side."""
    least = min(_LEAST * (high - low), float(size))
    start, end = max(low, 0.0), min(high, float(size))
    if end - start >= least:
        return start, end
    return (high - least, high) if high < size else (low, low + least)
