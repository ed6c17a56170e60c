"""What a user can say about a motion file that the file itself does not say."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...core.errors import UserError
from ...options import Options
from ..axes import AXES

_MAX_FPS = 1000.0  # highest rate that may be asked for


@dataclass(frozen=True)
class ReadOptions(Options):
    """Options for reading a motion file. `registry.MotionFormat.options` states which of them a format uses.

    Raises:
        UserError: `fps` is not in (0, 1000], or `up` is not an axis.
    """

    joint_names: Path | None = None
    """a .yaml that names the joints of an unknown skeleton"""
    up: Literal["x", "y", "z", "-x", "-y", "-z"] | None = None
    """up axis of a motion file (--up=-y for a negative one); if omitted, found from the motion"""
    fps: float | None = None
    """frame rate of a motion file that states none; other files are resampled to it; if omitted, a file keeps its rate,
    but skeletons faster than 60 frames a second are resampled to 30"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fps is not None and not 0 < self.fps <= _MAX_FPS:
            raise UserError(f"{self.fps:g} frames a second are not possible; choose more than 0, at most {_MAX_FPS:g}")
        if self.up is not None and self.up not in AXES:
            raise UserError(f"up is one of {', '.join(AXES)}, not '{self.up}'")

    def check_unused(self, source: object, *, rate: bool = False) -> None:
        """Check that no option is set for a capture or a video, which need none.

        Args:
            source: named in the message.
            rate: whether `fps` is used for it.

        Raises:
            UserError: an option is set that has no effect.
        """
        unused = {"--joint-names": self.joint_names, "--up": self.up, "--fps": None if rate else self.fps}
        for option, value in unused.items():
            if value is not None:
                raise UserError(f"{source}: {option} is for motion files of other programs; leave it out")
