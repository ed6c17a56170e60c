"""Options of `synthesize`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..core.errors import UserError

MIN_SIZE = 64


@dataclass(frozen=True)
class SynthOptions:
    """What to render.

    Raises:
        UserError: `frames`, `fps` or `size` are out of range.
    """

    motion: str = "training"
    """training, driving, walking, a motion file or a capture folder"""
    joint_names: Path | None = None
    """a .yaml that names the joints of an unknown skeleton"""
    up: Literal["x", "y", "z", "-x", "-y", "-z"] | None = None
    """up axis of a motion file (--up=-y for a negative one); if omitted, found from the motion"""
    frames: int = 300
    """maximum number of frames"""
    fps: float | None = None
    """frame rate of training, driving and walking (default: 25); files are resampled to it (default: their own rate)"""
    size: int = 512
    """side of the square frames, pixels"""
    seed: int = 0
    """seed of the performer's face and of the film grain; 0 is the performer of the demo"""

    def __post_init__(self) -> None:
        rate = 1.0 if self.fps is None else self.fps
        if self.frames < 2 or not rate > 0 or self.size < MIN_SIZE or self.size % 2:
            raise UserError(
                f"cannot render {self.frames} frames of {self.size} pixels at {rate:g} frames per second; needs at "
                f"least 2 frames, an even size of at least {MIN_SIZE} and a positive rate"
            )
