"""A pinhole camera that stands level at the origin of the world and looks along +y."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

# A clip says nothing about its lens; a focal length of 1.6 picture heights (35 degrees upright) suits a
# phone held upright and lets depth follow from the person's size.
DEFAULT_FOCAL = 1.6


@dataclass(frozen=True)
class Camera:
    """Pinhole intrinsics in pixels; world axes are those of `body.template` (x left of the person, z up)."""

    focal: float
    center_x: float
    center_y: float
    width: int
    height: int

    @classmethod
    def default(cls, width: int, height: int) -> "Camera":
        return cls(DEFAULT_FOCAL * max(width, height), width / 2, height / 2, width, height)

    def project(self, points: Tensor) -> Tensor:
        """World points [..., 3] (metres) to [..., 3]: x, y in pixels and the depth in metres."""
        depth = points[..., 1]
        scale = self.focal / depth.clamp(min=0.05)
        return torch.stack([self.center_x + points[..., 0] * scale, self.center_y - points[..., 2] * scale, depth], -1)

    def unproject(self, pixels: Tensor, depth: Tensor) -> Tensor:
        """Pixels [..., 2] at depths [...] (metres) to world points [..., 3]."""
        x = (pixels[..., 0] - self.center_x) / self.focal * depth
        z = (self.center_y - pixels[..., 1]) / self.focal * depth
        return torch.stack([x, depth, z], -1)

    def crop(self, left: float, top: float, side: float, size: int) -> "Camera":
        """The camera of a square cut-out (pixels of this camera), resized to `size` x `size`."""
        scale = size / side
        return Camera(self.focal * scale, (self.center_x - left) * scale, (self.center_y - top) * scale, size, size)

    def scaled(self, width: int, height: int) -> "Camera":
        """The camera at another resolution of the same aspect."""
        across, down = width / self.width, height / self.height
        return Camera(self.focal * across, self.center_x * across, self.center_y * down, width, height)

    def as_dict(self) -> dict:
        return asdict(self)
