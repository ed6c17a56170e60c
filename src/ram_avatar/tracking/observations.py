"""A clip's landmarks as tensors, with gates for parts that the detector only imagined."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..motion.resting import eased
from .detection.landmarks import Landmarks
from .detection.topology import LIMB_JOINTS, WRISTS, Topology

TRUSTED = 0.2  # visibility: landmarks below this are the detector's guesses
HIDDEN, SHOWN = 0.3, 0.6  # visibility of a limb's better joint: below, the limb is hidden; above, it is visible
_BOTH_ENDS = 0.6  # visibility of both ends of a bone whose length counts

# Of the person's height: a hand farther than this from the pose's wrist is not that hand.
MAX_WRIST_GAP = 0.06
# Of the person's height: bounds on the longer side of a hand's bounding box.
HAND_SIZE = (0.015, 0.22)
# Camera axes (x right, y down, z forward) to world axes (x right in the image, y forward, z up).
TO_WORLD = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], np.float32)
# Bones of an average adult as shares of the body's height: (from, to), roles of pose landmarks.
HEIGHT_SHARES = {
    ("left_shoulder", "right_shoulder"): 0.20,
    ("left_shoulder", "left_hip"): 0.29,
    ("right_shoulder", "right_hip"): 0.29,
    ("left_hip", "left_knee"): 0.25,
    ("right_hip", "right_knee"): 0.25,
    ("left_knee", "left_ankle"): 0.24,
    ("right_knee", "right_ankle"): 0.24,
}


@dataclass
class Observations:
    """What was seen of one person in N frames, in pixels of the video. Unseen parts are zero with `seen` False."""

    topology: Topology
    pose: Tensor  # [N, P, 2]
    visibility: Tensor  # [N, P] in [0, 1]
    pose_world: Tensor  # [N, P, 3] metres, world axes of `body.template`
    left_hand: Tensor  # [N, 21, 3]
    right_hand: Tensor  # [N, 21, 3]
    face: Tensor  # [N, F, 3]
    seen: dict[str, Tensor]  # body, left_hand, right_hand, face: [N] bool
    masks: np.ndarray  # [N, h, w] uint8
    width: int
    height: int
    fps: float

    def __len__(self) -> int:
        return len(self.pose)

    @property
    def person_height(self) -> float:
        """The upright person's height in pixels, from visible bones only, so that cropped bodies do not matter."""
        pose, visibility = self.pose[self.seen["body"]].numpy(), self.visibility[self.seen["body"]].numpy()
        heights = bone_heights(pose, visibility, self.topology)
        # Foreshortening only ever shortens, so a bone's true length is among its longest.
        known = [np.nanquantile(bone, 0.85) for bone in heights.T if np.isfinite(bone).mean() > 0.3]
        return float(np.median(known if known else np.ptp(pose[..., 1], 1)))

    def rates(self) -> dict[str, float]:
        """Return the share of frames in which each part was seen."""
        return {part: float(seen.float().mean()) for part, seen in self.seen.items()}


def observe(clip: Sequence[Landmarks], width: int, height: int, fps: float) -> Observations:
    """Stack the landmarks of a clip, and gate what cannot be right.

    Args:
        clip: one frame or more, of one detector.
        width, height: of the frames, pixels.
    """

    def stack(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(frame, name) for frame in clip]).astype(np.float32))

    world = stack("pose_world") @ torch.from_numpy(TO_WORLD).T
    seen = {
        "body": torch.isfinite(stack("pose")[..., 0]).any(1),
        **{part: torch.isfinite(stack(part)[:, 0, 0]) for part in ("left_hand", "right_hand", "face")},
    }
    observations = Observations(
        topology=clip[0].topology,
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
    facing = faces_camera(observations.pose_world.numpy(), observations.topology)
    observations.seen["face"] &= observations.seen["body"] & torch.from_numpy(facing)


def _gate_hands(observations: Observations) -> None:
    height, topology = observations.person_height, observations.topology
    for part, wrist in WRISTS.items():
        hand = getattr(observations, part)[..., :2].numpy()
        plausible = is_plausible_hand(hand, observations.pose[:, topology.pose[wrist]].numpy(), height, topology)
        observations.seen[part] &= observations.seen["body"] & torch.from_numpy(plausible)


# Shared by clips and single frames, in NumPy; [...] is any number of frames ---------------------------------------


def bone_heights(pose: np.ndarray, visibility: np.ndarray, topology: Topology) -> np.ndarray:
    """Return the person's height in pixels by each bone of `HEIGHT_SHARES` [..., 7]; NaN where it is not visible.

    Args:
        pose: [..., P, 2] pixels.
        visibility: [..., P].
    """
    start, end = topology.bones(HEIGHT_SHARES).T
    length = np.linalg.norm(pose[..., start, :] - pose[..., end, :], axis=-1)
    both = (visibility[..., start] > _BOTH_ENDS) & (visibility[..., end] > _BOTH_ENDS)
    return np.where(both, length / np.array(list(HEIGHT_SHARES.values())), np.nan)


def faces_camera(pose_world: np.ndarray, topology: Topology) -> np.ndarray:
    """Return whether the face can be visible at all [...] bool, by the pose [..., P, 3] in world axes.

    Detectors imagine the face of a person seen from behind; it can be real only if the nose is nearer to the camera
    than the ears.
    """
    ears = topology.indices(("left_ear", "right_ear"))
    return pose_world[..., topology.pose["nose"], 1] < pose_world[..., ears, 1].mean(-1)


def trust(pose: np.ndarray, visibility: np.ndarray, width: float, height: float) -> np.ndarray:
    """Return how far each pose landmark can be trusted by itself [..., P]: its visibility, or 0.

    Landmarks outside the image are the detector's guesses.

    Args:
        pose: [..., P, 2] pixels.
        visibility: [..., P].
        width, height: of the image, pixels.
    """
    inside = ((pose >= 0) & (pose <= [width, height])).all(-1)
    return visibility * (inside & (visibility > TRUSTED))


def limb_visibility(trusted: np.ndarray, hands: np.ndarray, topology: Topology) -> tuple[np.ndarray, np.ndarray]:
    """Return how visible each of `motion.LIMBS` is [..., 4], 0 to 1, and its confidence [..., 4].

    One joint is enough: a visible wrist roughly locates the arm.

    Args:
        trusted: [..., P] from `trust`.
        hands: [..., 2] bool: whether the left and the right hand were found, which proves the arm, too.
    """
    best = np.stack([trusted[..., topology.indices(joints)].max(-1) for joints in LIMB_JOINTS], -1)
    best[..., :2] = np.maximum(best[..., :2], hands)
    seen = eased(np.clip((best - HIDDEN) / (SHOWN - HIDDEN), 0.0, 1.0))
    return seen, best * seen


def is_plausible_hand(hand: np.ndarray, wrist: np.ndarray, height: float, topology: Topology) -> np.ndarray:
    """Return whether a hand [..., 21, 2] has a plausible size and is at the pose's wrist [..., 2] ([...] bool).

    Args:
        hand, wrist: pixels.
        height: of the person, pixels.
    """
    gap = np.linalg.norm(hand[..., topology.wrist, :] - wrist, axis=-1) / height
    size = (hand.max(-2) - hand.min(-2)).max(-1) / height
    return (gap < MAX_WRIST_GAP) & (size > HAND_SIZE[0]) & (size < HAND_SIZE[1])
