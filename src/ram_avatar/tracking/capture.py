"""A capture: one video of one person, tracked. A folder of files that other tools can read."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
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
HELD_OUT = 0.2  # the last share of a clip, never trained on
CAPTURE_FILE = "capture.json"


@dataclass
class Capture:
    """The square cut-out of a video that holds a person throughout, and how the template moves in it.

    Everything is in the pixels of the stored frames: `frames.mkv` and `masks.mkv` (lossless), read as needed.
    """

    folder: Path
    source: str  # name of the video it was made from
    camera: Camera  # of the stored frames
    motion: Motion
    identity: Tensor  # [I] of the template
    static_camera: bool
    crop: dict[str, float]  # left, top, side, source_width, source_height in pixels of the source
    report: dict = field(default_factory=dict)  # detection rates, fit errors, what the face was read from

    def __len__(self) -> int:
        return len(self.motion)

    @property
    def train_frames(self) -> int:
        """Frames 0 .. this are for training, the rest is held out."""
        return len(self) - max(1, round(len(self) * HELD_OUT))

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
            "report": self.report,
        }
        (self.folder / CAPTURE_FILE).write_text(json.dumps(described, indent=2) + "\n")

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
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{folder / CAPTURE_FILE}: damaged ({error!r})") from None
        if motion.template != described["template"] or len(motion) != described["frames"]:
            raise UserError(f"{folder}: motion.npz does not belong to its {CAPTURE_FILE}")
        for name in ("frames.mkv", "masks.mkv", "background.png"):
            if not (folder / name).is_file():
                raise UserError(f"{folder}: incomplete, it has no {name}")
        return capture


def is_capture(path: str | Path) -> bool:
    return (Path(path) / CAPTURE_FILE).is_file()
