"""Options of `synthesize`."""

from dataclasses import dataclass
from typing import Literal, get_args

from ..core.errors import UserError
from ..motion.formats import ReadOptions

MIN_SIZE = 64

PerformerName = Literal["trousers", "skirt"]
DEFAULT_PERFORMER: PerformerName = "trousers"


@dataclass(frozen=True)
class SynthOptions(ReadOptions):
    """What to render.

    Raises:
        UserError: `frames` or `size` is out of range, or the performer does not exist; see also `ReadOptions`.
    """

    motion: str = "training"
    """training, driving, walking, narrow (arms down, as most people film), a motion file or a capture folder"""
    frames: int = 300
    """maximum number of frames"""
    fps: float | None = None
    """frame rate: of a performance 25 if omitted; a file keeps its own, or is resampled to this"""
    size: int = 512
    """side of the square frames, pixels"""
    performer: PerformerName = DEFAULT_PERFORMER
    """trousers: short hair, and clothes painted on the body; skirt: long hair and a skirt, which swing"""
    seed: int = 0
    """seed of the performer's face and of the film grain; 0 is the performer of the demo"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frames < 2 or self.size < MIN_SIZE or self.size % 2:
            raise UserError(
                f"cannot render {self.frames} frames of {self.size} pixels; needs at least 2 frames and an even size "
                f"of at least {MIN_SIZE}"
            )
        if self.performer not in (names := get_args(PerformerName)):
            raise UserError(f"unknown performer '{self.performer}'; choose from {', '.join(names)}")
