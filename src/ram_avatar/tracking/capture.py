"""A capture: one video of one person, tracked. A folder of files that other tools can read."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..camera import Camera
from ..errors import UserError
from ..files import read_description
from ..motion.motion import Motion
from ..pictures import read_picture, resize
from ..video import read_frames

FORMAT_VERSION = 1
HELD_OUT = 0.2  # the last share of the frames that show the person, never trained on
CAPTURE_FILE = "capture.json"
NOBODY, OTHER_SCENE = "nobody", "other scene"


@dataclass(frozen=True)
class LeftOut:
    """Frames `first` to `last`, both included, that do not show the person."""

    first: int
    last: int
    why: str
    """`NOBODY`: nobody is seen in them; `OTHER_SCENE`: the video cuts to something else, or fades to it."""

    def __post_init__(self):
        if not (type(self.first) is type(self.last) is int and 0 <= self.first <= self.last):
            raise ValueError(f"no frames {self.first} to {self.last}")

    def __len__(self) -> int:
        return self.last - self.first + 1


@dataclass
class Capture:
    """The square cut-out of a video that holds a person, and how the template moves in it.

    Everything is in the pixels of the stored frames: `frames.mkv` and `masks.mkv` (lossless), read as needed.
    All frames of the video are there, so that a motion keeps its length. Those that do not show the person are
    `left_out`: nothing is learned from them, and nothing is judged on them.
    """

    folder: Path
    source: str  # name of the video it was made from
    camera: Camera  # of the stored frames
    motion: Motion
    identity: Tensor  # [I] of the template
    static_camera: bool
    crop: dict[str, float]  # left, top, side, source_width, source_height in pixels of the source
    report: dict = field(default_factory=dict)  # detection rates, fit errors, what the face was read from
    left_out: Sequence[LeftOut] = ()

    def __len__(self) -> int:
        return len(self.motion)

    @property
    def shown(self) -> np.ndarray:
        """[N] bool: whether the frame shows the person."""
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
        """Numbers of the frames to train on, in order."""
        return self._split()[0]

    @property
    def held_out(self) -> list[int]:
        """Numbers of the frames to judge on: the last fifth of those that show the person, one at least."""
        return self._split()[1]

    @property
    def train_motion(self) -> Motion:
        """The motion up to the last training frame, with the frames left out in between: of no confidence."""
        return self.motion[: self.train_frames[-1] + 1]

    @property
    def held_out_motion(self) -> Motion:
        """The motion from the first held-out frame on, likewise."""
        return self.motion[self.held_out[0] :]

    def _split(self) -> tuple[list[int], list[int]]:
        frames = np.flatnonzero(self.shown).tolist()
        kept = len(frames) - max(1, round(len(frames) * HELD_OUT))
        return frames[:kept], frames[kept:]

    def neighbors(self, frames: Tensor, step: int) -> Tensor:
        """The frames `step` (1 or -1) from the given ones [B]; a frame itself, where that does not show the person."""
        there = (frames + step).clamp(0, len(self) - 1)
        return torch.where(torch.from_numpy(self.shown)[there], there, frames)

    def frames(self, size: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """RGB frames [S, S, 3] and person masks [S, S], uint8, resized to `size` where it is given."""
        sources = zip(read_frames(self.folder / "frames.mkv"), read_frames(self.folder / "masks.mkv"), strict=True)
        for frame, mask in sources:
            yield resize(frame, size), resize(mask[..., 0], size)

    def inside(self, size: int) -> np.ndarray:
        """[S, S] bool: pixels that the video itself shows; beyond its edges the cut-out is mirrored."""
        crop, zoom = self.crop, size / self.crop["side"]
        left, top = -crop["left"] * zoom, -crop["top"] * zoom
        right, bottom = left + crop["source_width"] * zoom, top + crop["source_height"] * zoom
        centres = np.arange(size) + 0.5
        across, down = (centres > left) & (centres < right), (centres > top) & (centres < bottom)
        return down[:, None] & across[None]

    def background(self, size: int | None = None) -> np.ndarray:
        """The plate [S, S, 3] uint8 RGB."""
        return resize(read_picture(self.folder / "background.png"), size)

    def write_description(self) -> None:
        """Write `capture.json` and `motion.npz` into the folder."""
        self.motion.save(self.folder / "motion.npz")
        described = {
            "format_version": FORMAT_VERSION,
            "source": self.source,
            "template": self.motion.template,
            "frames": len(self),
            "fps": self.motion.fps,
            "camera": self.camera.as_dict(),
            "crop": self.crop,
            "static_camera": self.static_camera,
            "identity": [round(float(v), 6) for v in self.identity],
            "left_out": [asdict(frames) for frames in self.left_out],
            "report": self.report,
        }
        (self.folder / CAPTURE_FILE).write_text(json.dumps(described, indent=2, allow_nan=False) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> "Capture":
        """Open a capture folder.

        Raises:
            UserError: not a capture, of another format version, or damaged.
        """
        folder = Path(folder)
        described = read_description(folder / CAPTURE_FILE, "capture", FORMAT_VERSION)
        motion = Motion.load(folder / "motion.npz")
        try:
            capture = cls(
                folder=folder,
                source=str(described["source"]),
                camera=Camera(**described["camera"]),
                motion=motion,
                identity=torch.tensor(described["identity"], dtype=torch.float32),
                static_camera=bool(described["static_camera"]),
                crop=described["crop"],
                report=described.get("report", {}),
                left_out=tuple(LeftOut(**frames) for frames in described.get("left_out", ())),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{folder / CAPTURE_FILE}: damaged ({error!r})") from None
        if not capture.shown.any():
            raise UserError(f"{folder / CAPTURE_FILE}: damaged (no frame shows the person)")
        if motion.template != described["template"] or len(motion) != described["frames"]:
            raise UserError(f"{folder}: motion.npz does not belong to its {CAPTURE_FILE}")
        for name in ("frames.mkv", "masks.mkv", "background.png"):
            if not (folder / name).is_file():
                raise UserError(f"{folder}: incomplete, it has no {name}")
        return capture


def is_capture(path: str | Path) -> bool:
    return (Path(path) / CAPTURE_FILE).is_file()
