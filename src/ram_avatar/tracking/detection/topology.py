"""What a detector's landmark indices mean.

Everything outside this package asks a `Topology` for landmarks by role, so that detectors with other numberings can
take the place of the default one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...body.template import KEYPOINTS

Pair = tuple[int, int]
RolePair = tuple[str, str]

_SIDES = ("left", "right")  # of the person
JOINTS = tuple(f"{side}_{joint}" for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle") for side in _SIDES)
"""The joints of the body, left before right, from the shoulders down."""
POSE_ROLES = (*JOINTS, *KEYPOINTS, *(f"{side}_{place}" for place in ("eye", "mouth") for side in _SIDES))
"""The pose landmarks that every topology names."""

SHOULDERS, HIPS = ("left_shoulder", "right_shoulder"), ("left_hip", "right_hip")
TORSO = (*SHOULDERS, *HIPS)
WRISTS = {"left_hand": "left_wrist", "right_hand": "right_wrist"}
LIMB_BONES: tuple[RolePair, ...] = (
    ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"),
    ("right_shoulder", "right_elbow"), ("right_elbow", "right_wrist"),
    ("left_hip", "left_knee"), ("left_knee", "left_ankle"),
    ("right_hip", "right_knee"), ("right_knee", "right_ankle"),
)  # fmt: skip
"""Two bones of each of `motion.LIMBS`, in their order, as (from, to)."""
LIMB_JOINTS = tuple((LIMB_BONES[k][1], LIMB_BONES[k + 1][1]) for k in range(0, 8, 2))
"""The joints that locate each of `motion.LIMBS`: elbow and wrist, knee and ankle."""


@dataclass(frozen=True)
class Eye:
    """An eye's landmarks, for its aspect ratio."""

    corners: Pair
    lids: tuple[Pair, Pair]
    """Two pairs of upper and lower lid."""


@dataclass(frozen=True)
class FaceTopology:
    """Landmarks of the face by role. Right and left are the person's."""

    count: int
    irises: tuple[int, ...]
    upper_lids: tuple[int, ...]
    """On the lids' edges. The corners of the eye count as upper lid."""
    lower_lids: tuple[int, ...]
    upper_lip: tuple[int, ...]
    """On the inner edges of the lips. The corners of the mouth count as upper lip."""
    lower_lip: tuple[int, ...]
    expressive: tuple[int, ...]
    """Lids and lips, where a millimetre is an expression."""
    head: tuple[int, ...]
    """Rigid landmarks that locate the head: forehead, nose, cheeks, outline, corners of the eyes."""
    brows_and_jaw: tuple[int, ...]
    """Further landmarks that facial actions move."""
    eyes: tuple[Eye, Eye]
    """Right, left."""
    outer_eye_corners: Pair
    inner_lips: Pair
    """The middle of the upper and of the lower lip's inner edge."""
    mouth_corners: Pair
    drawn: tuple[int, ...]
    """Outline, lips, lids and brows, as an overlay draws them."""

    @property
    def anchors(self) -> tuple[int, ...]:
        """Landmarks that locate the head and the eyes."""
        return self.head + self.irises

    @property
    def deforming(self) -> tuple[int, ...]:
        """Landmarks that determine the facial actions, given the head."""
        return tuple(sorted({*self.expressive, *self.head, *self.brows_and_jaw}))


@dataclass(frozen=True)
class Topology:
    """The landmarks of one detector: how many there are and which is which.

    Raises:
        ValueError: a role of `POSE_ROLES` is missing, or `hand` is not an order of 21 landmarks.
    """

    name: str
    """Also part of the names of correspondence files."""
    pose_count: int
    pose: Mapping[str, int]
    """Index of each of `POSE_ROLES`."""
    limbs: tuple[tuple[int, ...], ...]
    """All pose landmarks that move with each of `motion.LIMBS`."""
    hand: tuple[int, ...]
    """Indices of the wrist, then of the three joints and the tip of each finger, thumb to little finger."""
    face: FaceTopology

    def __post_init__(self) -> None:
        if missing := [role for role in POSE_ROLES if role not in self.pose]:
            raise ValueError(f"topology '{self.name}' lacks pose landmarks: {', '.join(missing)}")
        if sorted(self.hand) != list(range(21)):
            raise ValueError(f"topology '{self.name}': a hand has 21 landmarks, each of them once")

    @property
    def hand_count(self) -> int:
        return len(self.hand)

    def indices(self, roles: Iterable[str]) -> list[int]:
        """Return the indices of pose landmarks by role."""
        return [self.pose[role] for role in roles]

    def bones(self, pairs: Iterable[RolePair]) -> NDArray[np.intp]:
        """Return the indices [L, 2] of both ends of L bones of the pose."""
        return np.array([self.indices(pair) for pair in pairs], np.intp)

    @property
    def wrist(self) -> int:
        """The hand landmark at the wrist."""
        return self.hand[0]

    @property
    def fingers(self) -> tuple[tuple[int, ...], ...]:
        """Three joints and the tip of each finger, thumb to little finger."""
        return tuple(self.hand[1 + 4 * k : 5 + 4 * k] for k in range(5))

    @property
    def hand_bones(self) -> NDArray[np.intp]:
        """[21, 2] ends of a hand's bones: within the fingers, from the wrist to each finger, and across the palm."""
        inner = [(finger[k], finger[k + 1]) for finger in self.fingers for k in range(3)]
        palm = [(self.wrist, finger[0]) for finger in self.fingers]
        across = (self.fingers[1][0], self.fingers[4][0])
        return np.array([*inner, *palm, across], np.intp)
