"""A capture: a tracked video of one person, as a folder of files that other tools can read."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..body.template import BodyTemplate
from ..core.camera import Camera
from ..core.errors import UserError
from ..core.images import shrunk
from ..core.untrusted.pictures import read_picture
from ..core.untrusted.records import read_description
from ..motion.motion import Motion
from ..rendering.framing import Framing
from ..video import read_frames
from .footage import Footage

FORMAT_VERSION = 2  # 2: holds the whole frames of its video
HELD_OUT = 0.2  # share of the frames that show the person, at the end, never trained on
CAPTURE_FILE, MASKS_FILE, BACKGROUND_FILE = "capture.json", "masks.mkv", "background.png"
_PREVIEW_SIDE = 512  # longer side, pixels
NOBODY, OTHER_SCENE = "nobody", "other scene"


@dataclass(frozen=True)
class LeftOut:
    """Frames `first` to `last`, inclusive, that do not show the person.

    Raises:
        ValueError: not a range of frames.
    """

    first: int
    last: int
    why: str
    """`NOBODY`: they show nobody; `OTHER_SCENE`: the video cuts or fades to something else."""

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.last:
            raise ValueError(f"no frames {self.first} to {self.last}")

    def __len__(self) -> int:
        return self.last - self.first + 1


@dataclass
class Capture:
    """A video of a person, and how the template moves in it.

    Camera and motion are those of the scene (`Footage`). The video is kept unchanged; `masks.mkv` holds the matte of
    every frame. All frames are kept, so motions keep their length; those that do not show the person are `left_out`,
    neither trained nor evaluated on.
    """

    folder: Path
    source: str  # name of the original video
    camera: Camera  # of the scene
    motion: Motion
    identity: Tensor  # [I] of the template
    footage: Footage
    known_background: bool  # whether one plate shows the background of every frame
    report: dict[str, Any] = field(default_factory=dict)  # detection rates, fit errors, source of the face
    left_out: Sequence[LeftOut] = ()

    def __len__(self) -> int:
        return len(self.motion)

    @property
    def shown(self) -> np.ndarray:
        """[N] bool: the frames that show the person."""
        shown = np.ones(len(self), bool)
        for frames in self.left_out:
            shown[frames.first : frames.last + 1] = False
        return shown

    @property
    def shown_motion(self) -> Motion:
        """The motion in the frames that show the person."""
        return self.motion[torch.from_numpy(self.shown)]

    @property
    def train_frames(self) -> list[int]:
        """Indices of the frames to train on, in order."""
        return self._split()[0]

    @property
    def held_out(self) -> list[int]:
        """Indices of the held-out frames: the last fifth of those that show the person, at least one."""
        return self._split()[1]

    @property
    def train_motion(self) -> Motion:
        """The motion up to the last training frame; left-out frames in between have no confidence."""
        return self.motion[: self.train_frames[-1] + 1]

    @property
    def held_out_motion(self) -> Motion:
        """The motion from the first held-out frame on; left-out frames have no confidence."""
        return self.motion[self.held_out[0] :]

    def _split(self) -> tuple[list[int], list[int]]:
        frames = np.flatnonzero(self.shown).tolist()
        kept = len(frames) - max(1, round(len(frames) * HELD_OUT))
        return frames[:kept], frames[kept:]

    def neighbors(self, frames: Tensor, step: int) -> Tensor:
        """Return the frames `step` (1 or -1) from the given ones [B], or these if a neighbour is left out or absent."""
        there = (frames + step).clamp(0, len(self) - 1)
        return torch.where(torch.from_numpy(self.shown)[there], there, frames)

    def frames(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Read all frames [H, W, 3], at the exposure of the reference, and their mattes [H, W]; uint8."""
        sources = zip(self.footage.read(self.folder), self.mattes(), strict=True)
        for index, (frame, mask) in enumerate(sources):
            yield self.footage.evened(index, frame), mask

    def mattes(self) -> Iterator[np.ndarray]:
        """Read the mattes of all frames [H, W] uint8."""
        for mask in read_frames(self.folder / MASKS_FILE):
            yield mask[..., 0]

    def framing(self, template: BodyTemplate) -> Framing:
        """Return the rule by which the close-up follows the person."""
        return Framing.of(self.camera, template, self.identity)

    def background(self) -> np.ndarray:
        """Read the background plate [H, W, 3] uint8 RGB."""
        return read_picture(self.folder / BACKGROUND_FILE)

    def write_description(self) -> None:
        """Write `capture.json`, `motion.npz` and the camera's path into the folder."""
        self.motion.save(self.folder / "motion.npz")
        self.footage.save_path(self.folder)
        described = {
            "format_version": FORMAT_VERSION,
            "source": self.source,
            "template": self.motion.template,
            "frames": len(self),
            "fps": self.motion.fps,
            "camera": self.camera.as_dict(),
            "footage": self.footage.as_dict(),
            "known_background": self.known_background,
            "identity": [round(float(v), 6) for v in self.identity],
            "left_out": [asdict(frames) for frames in self.left_out],
            "report": self.report,
        }
        (self.folder / CAPTURE_FILE).write_text(json.dumps(described, indent=2, allow_nan=False) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> "Capture":
        """Open a capture folder.

        Raises:
            UserError: not a capture, another format version, or damaged.
        """
        folder = Path(folder)
        described = read_description(folder / CAPTURE_FILE, "capture", FORMAT_VERSION)
        motion = Motion.load(folder / "motion.npz")
        if motion.template != described.take("template", str) or len(motion) != described.take("frames", int):
            raise UserError(f"{folder}: motion.npz does not belong to its {CAPTURE_FILE}")
        capture = cls(
            folder=folder,
            source=described.take("source", str),
            camera=described.record("camera", Camera),
            motion=motion,
            identity=torch.tensor(described.take("identity", tuple[float, ...])),
            footage=Footage.load(described, folder, len(motion)),
            known_background=described.take("known_background", bool),
            report=described.take("report", dict, {}),
            left_out=described.take("left_out", tuple[LeftOut, ...], ()),
        )
        with described.checked():
            capture.camera.check_lens()
            if any(frames.last >= len(motion) for frames in capture.left_out):
                raise ValueError(f"left_out: beyond the last of {len(motion)} frames")
            if not capture.shown.any():
                raise ValueError("no frame shows the person")
            if capture.footage.size != capture.scene_size:
                raise ValueError("its footage does not fit its camera")
        for name in (capture.footage.file, MASKS_FILE, BACKGROUND_FILE):
            if not (folder / name).is_file():
                raise UserError(f"{folder}: incomplete, {name} is missing")
        return capture

    def check_template(self, template: BodyTemplate) -> None:
        """Check that the capture was tracked with a template.

        Raises:
            UserError: with another one, or identity or motion have another number of parameters.
        """
        motion = self.motion
        if motion.template != template.name:
            raise UserError(f"{self.folder}: a capture of body template '{motion.template}', not '{template.name}'")
        counts = len(template.pose_joints), len(template.action_names)
        if (motion.pose.shape[1], motion.facial_actions.shape[1]) != counts:
            raise UserError(f"{self.folder}: motion.npz has not {counts[0]} joints and {counts[1]} facial actions")
        try:
            template.check_identity(self.identity)
        except ValueError as error:
            raise UserError(f"{self.folder / CAPTURE_FILE}: damaged ({error})") from None

    @property
    def scene_size(self) -> tuple[int, int]:
        """Width and height of the scene in pixels."""
        return self.camera.width, self.camera.height


def preview_size(width: int, height: int) -> tuple[int, int]:
    """Return the even width and height of a preview of the scene."""
    return shrunk(width, height, _PREVIEW_SIDE)


def is_capture(path: str | Path) -> bool:
    """Test whether a path is a capture's folder."""
    return (Path(path) / CAPTURE_FILE).is_file()
