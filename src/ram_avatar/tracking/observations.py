"""A clip's landmarks as tensors, with gates for parts that the detector imagined."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .landmarks import Landmarks

LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP = 11, 12, 23, 24
WRISTS = {"left_hand": 15, "right_hand": 16}
BODY_JOINTS = [11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28]

# Of the person's height: a hand further than this from the pose's wrist is not that hand.
MAX_WRIST_GAP = 0.06
# Of the person's height: the longer side of a hand's bounding box.
HAND_SIZE = (0.015, 0.22)


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
        pose, visible = self.pose[self.seen["body"]], self.visibility[self.seen["body"]]
        shares = {  # of body height, an average adult seen from the front
            (LEFT_SHOULDER, RIGHT_SHOULDER): 0.20,
            (LEFT_SHOULDER, LEFT_HIP): 0.29,
            (RIGHT_SHOULDER, RIGHT_HIP): 0.29,
            (23, 25): 0.25,
            (24, 26): 0.25,
            (25, 27): 0.24,
            (26, 28): 0.24,
        }
        heights = []
        for (a, b), share in shares.items():
            both = (visible[:, a] > 0.6) & (visible[:, b] > 0.6)
            if both.float().mean() > 0.3:
                # Foreshortening only ever shortens: the long end of a bone's lengths is its true one.
                heights.append(float((pose[both][:, a] - pose[both][:, b]).norm(dim=-1).quantile(0.85)) / share)
        if not heights:
            span = pose.amax(1) - pose.amin(1)
            return float(span[:, 1].median())
        return float(np.median(heights))

    def rates(self) -> dict[str, float]:
        """Share of the frames in which each part was seen."""
        return {part: float(seen.float().mean()) for part, seen in self.seen.items()}


def observe(clip: Sequence[Landmarks], width: int, height: int, fps: float) -> Observations:
    """Stack a clip's landmarks and gate what cannot be right."""

    def stack(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(frame, name) for frame in clip]).astype(np.float32))

    world = stack("pose_world")
    # Camera axes (x right, y down, z forward) to world axes (x right of the picture, y forward, z up).
    world = torch.stack([world[..., 0], world[..., 2], -world[..., 1]], -1)
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
    """Seen from behind, faces are imagined: keep those whose nose is nearer to the camera than the ears."""
    nose, ears = observations.pose_world[:, 0], observations.pose_world[:, [7, 8]].mean(1)
    observations.seen["face"] &= observations.seen["body"] & (nose[:, 1] < ears[:, 1])


def _gate_hands(observations: Observations) -> None:
    height = observations.person_height
    for part, wrist in WRISTS.items():
        hand = getattr(observations, part)[..., :2]
        gap = (hand[:, 0] - observations.pose[:, wrist]).norm(dim=-1) / height
        size = (hand.amax(1) - hand.amin(1)).amax(-1) / height
        plausible = (gap < MAX_WRIST_GAP) & (size > HAND_SIZE[0]) & (size < HAND_SIZE[1])
        observations.seen[part] &= observations.seen["body"] & plausible
