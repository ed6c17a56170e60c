"""What a detector finds in a frame, behind one small interface."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .topology import Topology


@dataclass
class Landmarks:
    """The landmarks of one person in one frame, in the detector's own order. Parts that were not found are all NaN."""

    topology: Topology
    pose: np.ndarray  # [P, 2] pixels
    visibility: np.ndarray  # [P] in [0, 1]
    pose_world: np.ndarray  # [P, 3] metres about the hips: x right, y down, z away from the camera
    left_hand: np.ndarray  # [21, 3] pixels, z in pixels too, relative to the wrist
    right_hand: np.ndarray  # [21, 3]
    face: np.ndarray  # [F, 3] pixels, likewise
    mask: np.ndarray  # [h, w] uint8 person mask, 255 = person; smaller than the frame

    @property
    def found(self) -> bool:
        """Whether the frame shows a person."""
        return bool(np.isfinite(self.pose[:, 0]).any())


class LandmarkDetector(Protocol):
    """Follows one person through the frames of a video, in order."""

    @property
    def topology(self) -> Topology:
        """The order of its landmarks."""
        ...

    def detect(self, frame: np.ndarray) -> Landmarks:
        """Return the landmarks in an RGB frame [H, W, 3] uint8."""
        ...

    def close(self) -> None: ...


class StillDetector(Protocol):
    """Finds landmarks in single images [H, W, 3] uint8 RGB: renders, when correspondences are measured."""

    @property
    def topology(self) -> Topology:
        """The order of its landmarks."""
        ...

    def face(self, image: np.ndarray) -> np.ndarray | None:
        """Return the landmarks of the face [F, 2] in pixels, or None."""
        ...

    def pose(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the landmarks of the pose [P, 2] in pixels and their visibility [P], or None."""
        ...

    def close(self) -> None: ...
