"""Options of `synthesize`."""

from dataclasses import dataclass

from ..core.errors import UserError

MIN_SIZE = 64


@dataclass(frozen=True)
class SynthOptions:
    """What to render.

    Raises:
        UserError: `frames`, `fps` or `size` are out of range.
    """

    motion: str = "training"
    """training, driving, walking, a motion .npz or a capture folder"""
    frames: int = 300
    """maximum number of frames"""
    fps: float = 25.0
    """frame rate of training, driving and walking; files keep their own"""
    size: int = 512
    """side of the square frames, pixels"""
    seed: int = 0
    """seed of the performer's face and of the film grain; 0 is the performer of the demo"""

    def __post_init__(self) -> None:
        if self.frames < 2 or not self.fps > 0 or self.size < MIN_SIZE or self.size % 2:
            raise UserError(
                f"cannot render {self.frames} frames of {self.size} pixels at {self.fps} frames per second; needs at "
                f"least 2 frames, an even size of at least {MIN_SIZE} and a positive rate"
            )
