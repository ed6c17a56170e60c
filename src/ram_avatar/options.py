"""Options that several functions share, each documented once; a function's own options extend them.

The command line reads the same dataclasses, before anything heavy is loaded: import nothing heavy here.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .config import Preset, load_preset
from .core.choices import ACCELERATORS, check_choice
from .core.errors import UserError

AUTO = "auto"
ROTATIONS = (0, 90, 180, 270)


@dataclass(frozen=True)
class Options:
    """The base of all options. Every `__post_init__` checks its own fields and calls the next one."""

    def __post_init__(self) -> None:
        """Raise a UserError for an impossible value."""


@dataclass(frozen=True)
class SmplxOptions(Options):
    """Where SMPL-X is, for avatars and captures of that template."""

    smplx_model: Path | None = None
    """SMPL-X's model file, SMPLX_NEUTRAL.npz; if omitted, the environment variable RAM_AVATAR_SMPLX names it"""


@dataclass(frozen=True)
class TemplateOptions(SmplxOptions):
    """Which body template to use."""

    template: Literal["anny", "smplx"] = "anny"
    """body template: anny, free and built in, or smplx, which needs its model file"""


@dataclass(frozen=True)
class DeviceOptions(Options):
    """What to compute on."""

    accelerator: str = "auto"
    """auto, cpu or cuda"""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("accelerator", self.accelerator, ACCELERATORS)


@dataclass(frozen=True)
class AvatarOptions(SmplxOptions, DeviceOptions):
    """How to load an avatar."""


@dataclass(frozen=True)
class FaceModelOptions(Options):
    """Where the blendshape network is."""

    face_model: Path | None = None
    """MediaPipe's face_landmarker.task; if omitted, read from the cache, or downloaded"""


@dataclass(frozen=True)
class RotateOptions(Options):
    """Which way up a video is."""

    rotate: Literal[0, 90, 180, 270] = 0
    """degrees to turn the video clockwise, if it was filmed sideways and carries no rotation tag"""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("rotate", self.rotate, ROTATIONS)


@dataclass(frozen=True)
class PresetOptions(Options):
    """Which recipe to train by."""

    preset: Preset | str = AUTO
    """lite (256 pixels, minutes on a CPU), standard (512), paper (1024), as-published, or the path of a .yaml recipe;
    auto: standard on a CUDA GPU with 8 GB, else lite"""

    def recipe(self, best: str) -> Preset:
        """Return the preset, loaded if only its name is given.

        Args:
            best: the one that "auto" stands for on this machine (`core.device.best_preset`).

        Raises:
            UserError: see `config.load_preset`.
        """
        if not isinstance(self.preset, str):
            return self.preset
        return load_preset(best if self.preset == AUTO else self.preset)


@dataclass(frozen=True)
class DemoOptions(RotateOptions, PresetOptions):
    """What the demo learns from, and how.

    Raises:
        UserError: `rotate` without a video.
    """

    video: Path | None = None
    """your own video to learn from, instead of the performer's"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rotate and self.video is None:
            raise UserError("--rotate is for a --video of your own")
