"""A pinhole camera: level, at the origin of the world, looking along +y."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from .ranges import check_range, check_ranges
from .untrusted.pictures import MAX_PIXELS, MAX_SIDE

# In longer sides of the image. A clip says nothing about its lens; this one (35 degrees along the longer side) suits a
# phone held upright, and lets the person's size determine their depth.
DEFAULT_FOCAL = 1.6
_FAR = 1e15  # pixels
_FOCAL, _CENTER = (0.01, 1000.0), (-100.0, 100.0)  # of a video's camera, in longer sides of the image


@dataclass(frozen=True)
class Camera:
    """Pinhole intrinsics in pixels. World axes are those of `body.template` (x to the person's left, z up).

    Raises:
        ValueError: no positive focal length; an empty image, or a larger one than `core.untrusted.pictures` reads.
    """

    focal: float
    center_x: float
    center_y: float
    width: int
    height: int

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES)
        check_range("width x height", self.width * self.height, 1, MAX_PIXELS)

    @classmethod
    def default(cls, width: int, height: int) -> "Camera":
        """Return the camera assumed for images of `width` x `height` pixels."""
        return cls(DEFAULT_FOCAL * max(width, height), width / 2, height / 2, width, height)

    def check_lens(self) -> None:
        """Raise a ValueError unless this can be a video's camera, rather than that of a small part of it."""
        longer = max(self.width, self.height)
        check_range("focal / longer side", self.focal / longer, *_FOCAL)
        check_range("center_x / longer side", self.center_x / longer, *_CENTER)
        check_range("center_y / longer side", self.center_y / longer, *_CENTER)

    def project(self, points: Tensor) -> Tensor:
        """Project world points [..., 3] (metres) to [..., 3]: x and y in pixels, depth in metres."""
        return _project(points, self.focal, self.center_x, self.center_y)

    def lens(self, device: torch.device) -> "Lens":
        """Return the numbers as a tensor on a device."""
        return Lens(torch.tensor(self.intrinsics, device=device), self.width, self.height)

    @property
    def intrinsics(self) -> tuple[float, float, float]:
        """Focal length, then the centre's x and y, in pixels: what a `Lens` holds."""
        return self.focal, self.center_x, self.center_y

    def unproject(self, pixels: Tensor, depth: Tensor) -> Tensor:
        """Return the world points [..., 3] (metres) of pixels [..., 2] at depths [...] (metres)."""
        x = (pixels[..., 0] - self.center_x) / self.focal * depth
        z = (self.center_y - pixels[..., 1]) / self.focal * depth
        return torch.stack([x, depth, z], -1)

    def crop(self, left: float, top: float, side: float, size: int) -> "Camera":
        """Return the camera of a square crop (in pixels of this camera), resized to `size` x `size`."""
        scale = size / side
        return Camera(self.focal * scale, (self.center_x - left) * scale, (self.center_y - top) * scale, size, size)

    def part(self, left: int, top: int, width: int, height: int) -> "Camera":
        """Return the camera of a rectangle of pixels."""
        return Camera(self.focal, self.center_x - left, self.center_y - top, width, height)

    def scaled(self, width: int, height: int) -> "Camera":
        """Return the camera at another resolution of the same aspect ratio."""
        across, down = width / self.width, height / self.height
        return Camera(self.focal * across, self.center_x * across, self.center_y * down, width, height)

    def as_dict(self) -> dict[str, float]:
        """Return the fields, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Lens:
    """A camera whose numbers are on a device, where they may change while the program that reads them stays."""

    values: Tensor
    """[3] float32: focal length, then the centre's x and y, pixels."""
    width: int
    height: int

    def project(self, points: Tensor) -> Tensor:
        """Project world points, see `Camera.project`."""
        return _project(points, *self.values.unbind())


def _project(points: Tensor, focal: float | Tensor, center_x: float | Tensor, center_y: float | Tensor) -> Tensor:
    depth = points[..., 1]
    scale = focal / depth.clamp(min=0.05)
    return torch.stack([center_x + points[..., 0] * scale, center_y - points[..., 2] * scale, depth], -1)


_RANGES = {
    "focal": (1 / _FAR, _FAR),
    "center_x": (-_FAR, _FAR),
    "center_y": (-_FAR, _FAR),
    "width": (1, MAX_SIDE),
    "height": (1, MAX_SIDE),
}
