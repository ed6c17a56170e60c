"""Options of `animate`."""

from dataclasses import dataclass

from ..core.errors import UserError
from ..drivers.options import DriverOptions

ALIGN_MODES = ("off", "auto", "on")
CAMERAS = ("still", "source")
TRANSPARENT = "transparent"


@dataclass(frozen=True)
class AnimateOptions(DriverOptions):
    """How an avatar follows a driver, and what the video shows.

    Raises:
        UserError: an unknown `align` or `camera`, `align_strength` outside [0, 1], or two options that exclude each
            other; see also `DriverOptions`.
    """

    keep_place: bool = False
    """keep the avatar in place; it does not walk with the driver"""
    align: str = "auto"
    """what to do with poses that the avatar's video never showed: auto moves them towards those it did, no bone by more
    than 3 degrees; on is the paper's full alignment, which can lose a gesture; off leaves them unchanged"""
    align_strength: float = 1.0
    """how far to move poses, from 0 (not at all) to 1 (all the way)"""
    background: str | None = None
    """an image file, or 'transparent' (.mov and .webm); if omitted, the avatar's own background"""
    side_by_side: bool = False
    """show the driver's video on the left"""
    frame: str = "source"
    """the avatar's own video frame (source), or the largest square, portrait or WIDTHxHEIGHT part of it"""
    size: int | None = None
    """longer side in pixels; if omitted, the video's own"""
    camera: str = "still"
    """still, or source: move as the driver's camera did"""
    visible_mark: bool = False
    """mark every frame as generated, in a corner, as the file's metadata do anyway"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.align not in ALIGN_MODES:
            raise UserError(f"align is {', '.join(ALIGN_MODES)}, not '{self.align}'")
        if not 0 <= self.align_strength <= 1:
            raise UserError(f"the strength of the alignment is between 0 and 1, not {self.align_strength:g}")
        if self.transparent and self.side_by_side:
            raise UserError("a transparent video has no place for the driver beside it; choose one of the two")
        if self.camera not in CAMERAS:
            raise UserError(f"--camera is {' or '.join(CAMERAS)}, not '{self.camera}'")

    @property
    def transparent(self) -> bool:
        """Whether the video has an alpha channel."""
        return self.background == TRANSPARENT
