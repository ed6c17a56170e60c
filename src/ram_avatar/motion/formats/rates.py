"""Frame rates that a user asks for."""

from pathlib import Path
from typing import TypeVar

from ...core.errors import UserError
from ..motion import Motion
from ..skeleton import SkeletalClip

MAX_FPS = 60.0
"""Faster skeletal clips are resampled to 30 frames per second: motion capture cameras run at 120."""
_FPS = 30.0
_MAX_FRAMES = 1_000_000  # in the result of resampling

Sampled = TypeVar("Sampled", Motion, SkeletalClip)


def resampled(path: Path, clip: Sampled, fps: float | None) -> Sampled:
    """Resample what was read from `path`; None keeps its rate.

    Raises:
        UserError: more than a million frames would result.
    """
    if fps is None:
        return clip
    if len(clip) / clip.fps * fps > _MAX_FRAMES:
        raise UserError(f"{path}: {len(clip) / clip.fps:.0f} seconds at {fps:g} frames a second are too many frames")
    return clip.resampled(fps)


def at_usual_rate(clip: SkeletalClip) -> SkeletalClip:
    """Resample a clip to 30 frames per second if it has more than `MAX_FPS`."""
    return clip.resampled(_FPS) if clip.fps > MAX_FPS else clip
