"""The video of a capture, and how its frames map to the scene."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.archives import write_arrays
from ..core.ranges import check_ranges
from ..core.untrusted.arrays import open_arrays
from ..core.untrusted.pictures import MAX_SIDE
from ..core.untrusted.records import Description
from ..rendering.framing import warp
from ..video import ROTATIONS, read_frames

PATH_FILE = "camera_path.npz"
_MAX_PATH = 64 << 20  # bytes
_PER_FRAME = {"to_scene": (3, 3), "gains": (3,)}  # arrays of the camera's path, with their shapes per frame
_LARGEST = 1e6  # pixels


@dataclass(frozen=True)
class Footage:
    """The video of a capture, and how its frames map to the scene.

    The scene is what the reference frame shows. Frames of a moving camera map to it by a homography each.

    Raises:
        ValueError: an empty image, one larger than any camera's, a rotation by no quarter, gains that are not positive,
            or `file` is a path.
    """

    file: str  # name in the capture's folder
    left: int  # the part of a frame inside the black bars, pixels
    top: int
    right: int
    bottom: int
    rotate: int = 0  # degrees clockwise, see `video.probe`
    to_scene: np.ndarray | None = None  # [N, 3, 3] pixels of frame n to pixels of the scene; None: a static camera
    gains: np.ndarray | None = None  # [N, 3] brightness per channel relative to the reference; None: all 1

    def __post_init__(self) -> None:
        if not (0 <= self.left < self.right and 0 <= self.top < self.bottom):
            raise ValueError(f"no image from {self.left, self.top} to {self.right, self.bottom}")
        check_ranges(self, dict.fromkeys(("right", "bottom"), (1, MAX_SIDE)))
        if self.rotate not in ROTATIONS:
            raise ValueError(f"rotate: expected one of {', '.join(map(str, ROTATIONS))}, found {self.rotate}")
        if self.gains is not None and not (self.gains > 0).all():
            raise ValueError("gains: expected positive numbers")
        if Path(self.file).name != self.file:
            raise ValueError(f"file: expected a name in the capture's folder, found '{self.file}'")

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the scene, and of every frame without bars."""
        return self.right - self.left, self.bottom - self.top

    @property
    def moves(self) -> bool:
        """Whether the camera moves."""
        return self.to_scene is not None

    def read(self, folder: Path) -> Iterator[np.ndarray]:
        """Read the frames [H, W, 3] uint8 RGB, without bars, exposed as filmed."""
        return map(self.within_bars, read_frames(folder / self.file, rotate=self.rotate))

    def within_bars(self, frame: np.ndarray) -> np.ndarray:
        """Crop the black bars off a frame of the video."""
        return np.ascontiguousarray(frame[self.top : self.bottom, self.left : self.right])

    def evened(self, index: int, frame: np.ndarray) -> np.ndarray:
        """Adjust a frame to the exposure of the reference."""
        if self.gains is None or (self.gains[index] == 1).all():
            return frame
        return (frame / self.gains[index]).clip(0, 255).round().astype(np.uint8)

    def in_scene(self, index: int, frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Warp a frame [H, W, C] to the scene, at `size` (width, height)."""
        zoom = np.diag([size[0] / self.size[0], size[1] / self.size[1], 1.0])
        to_scene = self.matrix(index)
        return warp(frame, zoom if to_scene is None else zoom @ to_scene, size)

    def matrix(self, index: int) -> np.ndarray | None:
        """Return [3, 3] from pixels of a frame to pixels of the scene; None for the identity."""
        return None if self.to_scene is None else self.to_scene[index]

    def as_dict(self) -> dict[str, Any]:
        """Return all but the camera's path, for a file."""
        return {name: value for name, value in vars(self).items() if name not in _PER_FRAME}

    def save_path(self, folder: Path) -> None:
        """Write the camera's path into a capture's folder, if the camera moves or the exposure drifts."""
        arrays = {name: getattr(self, name) for name in _PER_FRAME}
        known = {name: np.asarray(values, np.float64) for name, values in arrays.items() if values is not None}
        if known:
            write_arrays(folder / PATH_FILE, **known)

    @classmethod
    def load(cls, described: Description, folder: Path, frames: int) -> "Footage":
        """Rebuild footage from `as_dict`, a field of a capture's description, and the camera's path in its folder.

        Raises:
            UserError: the description or the camera's path is damaged.
        """
        path = _read_path(folder / PATH_FILE, frames)
        return described.record("footage", cls, to_scene=path.get("to_scene"), gains=path.get("gains"))


def _read_path(path: Path, frames: int) -> dict[str, np.ndarray]:
    """Read the arrays of a camera's path; none if there is no file."""
    if not path.exists():
        return {}
    with open_arrays(path, _MAX_PATH, "a camera's path") as arrays:
        if unknown := set(arrays.names()) - set(_PER_FRAME):
            raise ValueError(f"damaged (it holds {min(unknown)})")
        return {
            name: arrays.numbers(name, (frames, *_PER_FRAME[name]), np.float64, _LARGEST).numpy()
            for name in arrays.names()
        }
