"""The demo: every step a user would take, on a performer that ships with the package."""

from pathlib import Path

import cv2
import numpy as np

from .animation.animate import animate
from .animation.options import AnimateOptions
from .avatar import Avatar, generated_by
from .body import BodyTemplate, load_template
from .core.errors import UserError
from .core.files import disk_errors
from .core.images import write_picture
from .core.progress import SILENT, Progress
from .creation.create import create
from .creation.options import CreateOptions
from .options import DemoOptions
from .synthetic.performer import Performer, write_performance
from .video import probe, read_frames

FRAMES, FPS, SIZE = {"training": 240, "driving": 100}, 25.0, 512
_SHEET_FRAMES = 6
_SHEET_HEIGHT = 320  # pixels of a frame


def run_demo(
    out: str | Path,
    options: DemoOptions = DemoOptions(),
    *,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> None:
    """Film the performer (or take the user's video), learn an avatar, and drive it with another performance.

    The tracker and the trainer see nothing but the videos. Existing results are kept, so that an interrupted demo
    resumes.

    Raises:
        UserError: see `create`; `out` is a file.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; the demo needs a folder")
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    template = load_template(progress=progress)
    driver = _film("driving", out, template, overwrite, progress)
    video = options.video or _film("training", out, template, overwrite, progress)
    avatar = out / "avatar"
    creation = CreateOptions(preset=options.preset, rotate=options.rotate)
    create(video, avatar, creation, overwrite=overwrite, finished_is_fine=True, progress=progress)
    made, driven = Avatar.load(avatar), out / "driven.mp4"
    animate(made, driver, driven, AnimateOptions(side_by_side=True), overwrite=True, progress=progress)
    sheet = out / "result.png"
    with disk_errors(sheet):
        write_picture(sheet, contact_sheet(driven), generated_by(made))
    progress.note("")
    progress.note(f"{driven}: a driver on the left, the avatar following it on the right")
    progress.note(f"{sheet}: {_SHEET_FRAMES} frames of it")
    progress.note(f"{avatar / 'preview.mp4'}: held-out frames, beside the avatar's")


def _film(name: str, out: Path, template: BodyTemplate, overwrite: bool, progress: Progress) -> Path:
    path = out / f"{name}.mp4"
    if overwrite or not path.is_file():
        write_performance(path, Performer(template), name, FRAMES[name], FPS, SIZE, progress)
    return path


def contact_sheet(video: Path, count: int = _SHEET_FRAMES) -> np.ndarray:
    """Return `count` evenly spread frames of a video in two rows [H, W, 3], uint8 RGB."""
    frames = probe(video).frames
    wanted = set(np.linspace(0.08 * frames, 0.92 * frames, count).astype(int).tolist())
    chosen = [frame for i, frame in enumerate(read_frames(video)) if i in wanted]
    height, width = chosen[0].shape[:2]
    size = (round(width * _SHEET_HEIGHT / height), _SHEET_HEIGHT)
    small = [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in chosen]
    half = len(small) // 2
    return np.concatenate([np.concatenate(small[:half], 1), np.concatenate(small[half : 2 * half], 1)], 0)
