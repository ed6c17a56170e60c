"""Frame rates that a user asks for."""

from pathlib import Path
from typing import TypeVar

from ...core.errors import UserError
from ..motion import Motion
from ..skeleton import SkeletalClip

MAX_FPS = 60.0
"""Faster skeletal clips are resampled to 30 frames per second: motion capture cameras run at 120."""
_FPS = 30.0

Sampled = TypeVar("Sampled", Motion, SkeletalClip)


def resampled(path: Path, clip: Sampled, fps: float | None) -> Sampled:
    """Resample what was read from `path`; None keeps its rate.

    Raises:
        UserError: too many frames would result.
    """
    if fps is None:
        return clip
    try:
        return clip.resampled(fps)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def at_usual_rate(clip: SkeletalClip) -> SkeletalClip:
    """Resample a clip to 30 frames per second if it has more than `MAX_FPS`."""
    return clip.resampled(_FPS) if clip.fps > MAX_FPS else clip
