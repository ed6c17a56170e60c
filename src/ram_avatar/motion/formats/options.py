"""What a user can say about a motion file that the file itself does not say."""

from dataclasses import dataclass
from pathlib import Path

from ...core.errors import UserError
from ..axes import AXES

_MAX_FPS = 1000.0  # highest rate that may be asked for


@dataclass(frozen=True)
class ReadOptions:
    """Options for reading a motion file. `registry.MotionFormat.options` states which of them a format uses.

    Raises:
        UserError: `fps` is not in (0, 1000], or `up` is not an axis.
    """

    joint_names: str | Path | None = None
    """A YAML table of joint names (see `joint_map`), for skeletons that the shipped tables do not know."""
    up: str | None = None
    """The file's up axis, a key of `axes.AXES`. None: find it from the motion."""
    fps: float | None = None
    """Frame rate of a file that states none; any other file is resampled to it. None: keep the file's rate, but
    resample skeletons faster than 60 frames per second to 30."""

    def __post_init__(self) -> None:
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
