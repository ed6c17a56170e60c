"""A capture: one video of one person, tracked. A folder of files that other tools can read."""

import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..body.template import BodyTemplate
from ..core.camera import Camera
from ..core.errors import UserError
from ..core.files import read_description
from ..core.images import read_picture, shrunk
from ..motion.motion import Motion
from ..rendering.framing import Framing, warp
from ..video import read_frames

FORMAT_VERSION = 2  # since a capture holds the whole frames of its video
HELD_OUT = 0.2  # the last share of the frames that show the person, never trained on
CAPTURE_FILE, MASKS_FILE, BACKGROUND_FILE, PATH_FILE = "capture.json", "masks.mkv", "background.png", "camera_path.npz"
_MAX_PATH = 64 << 20  # bytes
_PREVIEW_SIDE = 512  # pixels of its longer side
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


@dataclass(frozen=True)
class Footage:
    """The video of a capture, and how its frames lie in the scene.

    The scene is what one frame of the video, the reference, shows. The frames of a camera that moved lie in it as a
    homography each says.
    """

    file: str  # name in the capture's folder
    left: int  # the part of a frame that is picture and not black bars; pixels
    top: int
    right: int
    bottom: int
    rotate: int = 0  # degrees clockwise, see `video.probe`
    to_scene: np.ndarray | None = None  # [N, 3, 3] pixels of frame n to pixels of the scene; None: the camera stands
    gains: np.ndarray | None = None  # [N, 3] how much brighter than the reference each channel is; None: not at all

    def __post_init__(self):
        if not (0 <= self.left < self.right and 0 <= self.top < self.bottom):
            raise ValueError(f"no picture from {self.left, self.top} to {self.right, self.bottom}")

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the scene, and of every frame."""
        return self.right - self.left, self.bottom - self.top

    @property
    def moves(self) -> bool:
        """Whether the camera does."""
        return self.to_scene is not None

    def read(self, folder: Path) -> Iterator[np.ndarray]:
        """Read the frames [H, W, 3] uint8 RGB, without bars, as they were filmed."""
        return map(self.within_bars, read_frames(folder / self.file, rotate=self.rotate))

    def within_bars(self, frame: np.ndarray) -> np.ndarray:
        """The picture within a frame of the video."""
        return np.ascontiguousarray(frame[self.top : self.bottom, self.left : self.right])

    def evened(self, index: int, frame: np.ndarray) -> np.ndarray:
        """A frame in the light of the reference."""
        if self.gains is None or (self.gains[index] == 1).all():
            return frame
        return (frame / self.gains[index]).clip(0, 255).round().astype(np.uint8)

    def in_scene(self, index: int, frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Show a frame [H, W, C] as the scene's camera would have seen it, at `size` (width, height)."""
        zoom = np.diag([size[0] / self.size[0], size[1] / self.size[1], 1.0])
        to_scene = self.matrix(index)
        return warp(frame, zoom if to_scene is None else zoom @ to_scene, size)

    def matrix(self, index: int) -> np.ndarray | None:
        """[3, 3] pixels of a frame to pixels of the scene; None for the identity."""
        return None if self.to_scene is None else self.to_scene[index]


@dataclass
class Capture:
    """A video that shows a person, and how the template moves in it.

    Camera and motion are those of the scene (`Footage`). The video is kept as it came; `masks.mkv` holds the matte of
    every frame. All frames of the video are there, so that a motion keeps its length. Those that do not show the person
    are `left_out`: nothing is learned from them, and nothing is judged on them.
    """

    folder: Path
    source: str  # name of the video it was made from
    camera: Camera  # of the scene
    motion: Motion
    identity: Tensor  # [I] of the template
    footage: Footage
    known_background: bool  # whether one plate shows what is behind the person in every frame
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

    def frames(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Read all frames [H, W, 3] in the light of the reference, and their mattes [H, W]; uint8."""
        sources = zip(self.footage.read(self.folder), read_frames(self.folder / MASKS_FILE), strict=True)
        for index, (frame, mask) in enumerate(sources):
            yield self.footage.evened(index, frame), mask[..., 0]

    def framing(self, template: BodyTemplate) -> Framing:
        """How the close-up follows the person."""
        return Framing.of(self.camera, template, self.identity)

    def background(self) -> np.ndarray:
        """The plate [H, W, 3] uint8 RGB."""
        return read_picture(self.folder / BACKGROUND_FILE)

    def write_description(self) -> None:
        """Write `capture.json`, `motion.npz` and the camera's path into the folder."""
        footage = self.footage
        self.motion.save(self.folder / "motion.npz")
        arrays = {"to_scene": footage.to_scene, "gains": footage.gains}
        if known := {name: np.asarray(values, np.float64) for name, values in arrays.items() if values is not None}:
            np.savez_compressed(self.folder / PATH_FILE, **known)
        described = {
            "format_version": FORMAT_VERSION,
            "source": self.source,
            "template": self.motion.template,
            "frames": len(self),
            "fps": self.motion.fps,
            "camera": self.camera.as_dict(),
            "footage": {name: value for name, value in vars(footage).items() if name not in arrays},
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
                footage=Footage(**described["footage"], **_read_path(folder / PATH_FILE, len(motion))),
                known_background=bool(described["known_background"]),
                report=described.get("report", {}),
                left_out=tuple(LeftOut(**frames) for frames in described.get("left_out", ())),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{folder / CAPTURE_FILE}: damaged ({error!r})") from None
        if not capture.shown.any():
            raise UserError(f"{folder / CAPTURE_FILE}: damaged (no frame shows the person)")
        if motion.template != described["template"] or len(motion) != described["frames"]:
            raise UserError(f"{folder}: motion.npz does not belong to its {CAPTURE_FILE}")
        if Path(capture.footage.file).name != capture.footage.file or capture.footage.size != capture.scene_size:
            raise UserError(f"{folder / CAPTURE_FILE}: damaged (its footage does not fit its camera)")
        for name in (capture.footage.file, MASKS_FILE, BACKGROUND_FILE):
            if not (folder / name).is_file():
                raise UserError(f"{folder}: incomplete, it has no {name}")
        return capture

    @property
    def scene_size(self) -> tuple[int, int]:
        """Width and height of the scene in pixels."""
        return self.camera.width, self.camera.height


def _read_path(path: Path, frames: int) -> dict[str, np.ndarray]:
    """The arrays of `camera_path.npz`; none where there is no such file."""
    if not path.is_file():
        return {}
    shapes = {"to_scene": (frames, 3, 3), "gains": (frames, 3)}
    try:
        with zipfile.ZipFile(path) as archive:
            if any(entry.file_size > _MAX_PATH for entry in archive.infolist()):
                raise UserError(f"{path}: too large to be a camera's path")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name].astype(np.float64) for name in file.files}
    except (zipfile.BadZipFile, KeyError, ValueError, OSError, EOFError) as error:
        raise UserError(f"{path}: damaged ({error})") from None
    for name, values in arrays.items():
        if name not in shapes or values.shape != shapes[name] or not np.isfinite(values).all():
            raise UserError(f"{path}: damaged (not {frames} frames of finite numbers)")
    return arrays


def preview_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of a small picture of the scene, even."""
    return shrunk(width, height, _PREVIEW_SIDE)


def is_capture(path: str | Path) -> bool:
    return (Path(path) / CAPTURE_FILE).is_file()
