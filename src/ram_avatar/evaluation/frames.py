"""Frames to measure: rendered, searched for landmarks, or of a pose that is held still."""

from collections.abc import Iterator, Sequence

import numpy as np

from ..avatar import Avatar
from ..core.progress import Progress, follow
from ..inference.render import render
from ..motion.motion import Motion
from ..tracking.detection.landmarks import Landmarks
from ..tracking.offline.scenes import runs
from .control import detect_frames
from .flicker import own_noise

_STILL = 24  # frames of the held pose

Frames = dict[str, np.ndarray]
"""Frames [N, S, S, 3] uint8 RGB by method ("avatar" and baselines)."""


def shown_size(avatar: Avatar) -> int:
    """Return the side of close-ups to judge an avatar by: twice as many pixels as it paints, if its video has them."""
    own = round(avatar.framing.square(avatar.placement.hips).side)
    return max(avatar.size, min(2 * avatar.size, own))


def render_frames(
    avatar: Avatar, motion: Motion, numbers: Sequence[int], size: tuple[int, int] | int
) -> Iterator[np.ndarray]:
    """Render some frames of a motion; after a gap there is no previous frame, as in training.

    Args:
        size: width and height of scene frames, or side of close-ups.
    """
    close_up = isinstance(size, int)
    wanted = (size, size) if isinstance(size, int) else size
    for run in runs(numbers):
        yield from render(avatar, motion[run[0] : run[-1] + 1], size=wanted, close_up=close_up)


def detect(frames: np.ndarray, what: str, progress: Progress) -> list[Landmarks]:
    """Detect the landmarks of a clip [N, H, W, 3]; the progress says of what."""
    return detect_frames(follow(frames, progress, f"Detecting: {what}", len(frames)))


def still_noise(avatar: Avatar, motion: Motion, size: int) -> np.ndarray:
    """Return `own_noise` [N] of the middle pose held for up to `_STILL` frames, NaN in the rest; in close-ups."""
    held = motion[[len(motion) // 2] * min(_STILL, len(motion))]
    noise = np.full(len(motion), np.nan)
    noise[: len(held)] = own_noise(np.stack(list(render(avatar, held, size=(size, size), close_up=True))))
    return noise
