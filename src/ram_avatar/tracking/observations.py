"""A clip's landmarks as tensors, with gates for parts that the detector imagined."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..motion.resting import eased
from .detection.landmarks import Landmarks

LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP = 11, 12, 23, 24
WRISTS = {"left_hand": 15, "right_hand": 16}
BODY_JOINTS = [11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28]
# Landmarks of each of `motion.LIMBS` that tell where it is: elbow and wrist, knee and ankle.
LIMB_JOINTS = ((13, 15), (14, 16), (25, 27), (26, 28))
# All landmarks of the pose that hang on each of them, the limb's joints first.
LIMB_LANDMARKS = (
    (13, 15, 17, 19, 21), (14, 16, 18, 20, 22), (25, 27, 29, 31), (26, 28, 30, 32),
)  # fmt: skip
TRUSTED = 0.2  # visibility: the detector imagined a landmark below this
HIDDEN, SHOWN = 0.3, 0.6  # visibility of a limb's better joint: a limb below is not seen, one above is

# Of the person's height: a hand further than this from the pose's wrist is not that hand.
MAX_WRIST_GAP = 0.06
# Of the person's height: the longer side of a hand's bounding box.
HAND_SIZE = (0.015, 0.22)
# Camera axes (x right, y down, z forward) to world axes (x right of the picture, y forward, z up).
TO_WORLD = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], np.float32)
# Bones as shares of the body's height, of an average adult: (from, to), pose landmarks.
HEIGHT_SHARES = {
    (LEFT_SHOULDER, RIGHT_SHOULDER): 0.20,
    (LEFT_SHOULDER, LEFT_HIP): 0.29,
    (RIGHT_SHOULDER, RIGHT_HIP): 0.29,
    (23, 25): 0.25,
    (24, 26): 0.25,
    (25, 27): 0.24,
    (26, 28): 0.24,
}


@dataclass
class Observations:
    """What was seen of one person in N frames. Pixels of the video; unseen parts are zero with `seen` False."""

    pose: Tensor  # [N, 33, 2]
    visibility: Tensor  # [N, 33] in [0, 1]
    pose_world: Tensor  # [N, 33, 3] metres, world axes of `body.template`
    left_hand: Tensor  # [N, 21, 3]
    right_hand: Tensor  # [N, 21, 3]
    face: Tensor  # [N, 478, 3]
    seen: dict[str, Tensor]  # body, left_hand, right_hand, face: [N] bool
    masks: np.ndarray  # [N, h, w] uint8
    width: int
    height: int
    fps: float

    def __len__(self) -> int:
        return len(self.pose)

    @property
    def person_height(self) -> float:
        """The upright person's height in pixels, from the bones that are seen: robust to what is cut off."""
        pose, visibility = self.pose[self.seen["body"]].numpy(), self.visibility[self.seen["body"]].numpy()
        heights = bone_heights(pose, visibility)
        # Foreshortening only ever shortens: the long end of a bone's lengths is its true one.
        told = [np.nanquantile(bone, 0.85) for bone in heights.T if np.isfinite(bone).mean() > 0.3]
        return float(np.median(told if told else np.ptp(pose[..., 1], 1)))

    def rates(self) -> dict[str, float]:
        """Share of the frames in which each part was seen."""
        return {part: float(seen.float().mean()) for part, seen in self.seen.items()}


def observe(clip: Sequence[Landmarks], width: int, height: int, fps: float) -> Observations:
    """Stack a clip's landmarks and gate what cannot be right."""

    def stack(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(frame, name) for frame in clip]).astype(np.float32))

    world = stack("pose_world") @ torch.from_numpy(TO_WORLD).T
    seen = {
        "body": torch.isfinite(stack("pose")[:, 0, 0]),
        **{part: torch.isfinite(stack(part)[:, 0, 0]) for part in ("left_hand", "right_hand", "face")},
    }
    observations = Observations(
        pose=stack("pose").nan_to_num(),
        visibility=stack("visibility"),
        pose_world=world.nan_to_num(),
        left_hand=stack("left_hand").nan_to_num(),
        right_hand=stack("right_hand").nan_to_num(),
        face=stack("face").nan_to_num(),
        seen=seen,
        masks=np.stack([frame.mask for frame in clip]),
        width=width,
        height=height,
        fps=fps,
    )
    if seen["body"].any():
        _gate_faces(observations)
        _gate_hands(observations)
    return observations


def _gate_faces(observations: Observations) -> None:
    observations.seen["face"] &= observations.seen["body"] & torch.from_numpy(
        looks_here(observations.pose_world.numpy())
    )


def _gate_hands(observations: Observations) -> None:
    height = observations.person_height
    for part, wrist in WRISTS.items():
        hand = getattr(observations, part)[..., :2].numpy()
        plausible = belongs(hand, observations.pose[:, wrist].numpy(), height)
        observations.seen[part] &= observations.seen["body"] & torch.from_numpy(plausible)


# What holds for a frame as for a clip, in NumPy; [...] is any number of frames ------------------------------------


def bone_heights(pose: np.ndarray, visibility: np.ndarray) -> np.ndarray:
    """[..., 7] the person's height as each bone of `HEIGHT_SHARES` tells it, pixels; NaN where it is not seen.

    Args:
        pose: [..., 33, 2] pixels.
        visibility: [..., 33].
    """
    start, end = np.array(list(HEIGHT_SHARES)).T
    length = np.linalg.norm(pose[..., start, :] - pose[..., end, :], axis=-1)
    both = (visibility[..., start] > 0.6) & (visibility[..., end] > 0.6)
    return np.where(both, length / np.array(list(HEIGHT_SHARES.values())), np.nan)


def looks_here(pose_world: np.ndarray) -> np.ndarray:
    """[...] bool: whether a face can be seen at all, of [..., 33, 3] in world axes.

    Seen from behind, faces are imagined: those are kept whose nose is nearer to the camera than the ears.
    """
    return pose_world[..., 0, 1] < pose_world[..., [7, 8], 1].mean(-1)


def trust(pose: np.ndarray, visibility: np.ndarray, width: float, height: float) -> np.ndarray:
    """Return how far each landmark of the pose can be trusted [..., 33], by itself: 0, or its visibility.

    The detector imagines what is out of the picture.

    Args:
        pose: [..., 33, 2] pixels.
        visibility: [..., 33].
        width, height: of the picture, pixels.
    """
    inside = ((pose >= 0) & (pose <= [width, height])).all(-1)
    return visibility * (inside & (visibility > TRUSTED))


def limbs_seen(trusted: np.ndarray, hands: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how far each of `motion.LIMBS` is seen [..., 4], 0 to 1, and its confidence [..., 4].

    One joint is enough: whoever sees a wrist knows about where the arm is.

    Args:
        trusted: [..., 33] of `trust`.
        hands: [..., 2] bool: whether the left and the right hand were found. A hand is a sign of its arm.
    """
    best = np.stack([trusted[..., list(joints)].max(-1) for joints in LIMB_JOINTS], -1)
    best[..., :2] = np.maximum(best[..., :2], hands)
    seen = eased(np.clip((best - HIDDEN) / (SHOWN - HIDDEN), 0.0, 1.0))
    return seen, best * seen


def belongs(hand: np.ndarray, wrist: np.ndarray, height: float) -> np.ndarray:
    """[...] bool: whether a hand [..., 21, 2] is of a plausible size and at the pose's wrist [..., 2]; pixels."""
    gap = np.linalg.norm(hand[..., 0, :] - wrist, axis=-1) / height
    size = (hand.max(-2) - hand.min(-2)).max(-1) / height
    return (gap < MAX_WRIST_GAP) & (size > HAND_SIZE[0]) & (size < HAND_SIZE[1])
