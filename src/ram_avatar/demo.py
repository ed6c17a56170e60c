"""`ram-avatar demo`: what a user would do, on a performer who ships with the package."""

from pathlib import Path

import cv2
import numpy as np

from .animate import animate
from .avatar import Avatar
from .body import BodyTemplate, load_template
from .core.errors import UserError
from .core.files import disk_errors
from .core.images import write_picture
from .core.progress import Progress
from .creation.create import create
from .synthetic.performer import Performer, write_performance
from .video import probe, read_frames

FRAMES, FPS, SIZE = {"training": 240, "driving": 100}, 25.0, 512
_SHOWN = 6


def run_demo(
    out: Path, *, video: Path | None, preset: str, overwrite: bool, progress: Progress, rotate: int = 0
) -> None:
    """Film the performer (or take the user's video), learn an avatar, drive it with another performance.

    The tracker and the trainer see nothing but the videos. What is there already is not made again, so that a
    stopped demo goes on.

    Args:
        rotate: degrees clockwise to turn the user's video by, see `video.probe`.

    Raises:
        UserError: see `create`; `out` is a file; `rotate` without a video.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; the demo wants a folder")
    if rotate and video is None:
        raise UserError("--rotate is for a --video of your own")
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    template = load_template(progress=progress)
    driver = _film("driving", out, template, overwrite, progress)
    trained_on = video or _film("training", out, template, overwrite, progress)
    avatar = out / "avatar"
    create(
        trained_on,
        avatar,
        preset=preset,
        rotate=rotate,
        overwrite=overwrite,
        finished_is_fine=True,
        progress=progress,
    )
    driven = out / "driven.mp4"
    animate(Avatar.load(avatar), driver, driven, side_by_side=True, overwrite=True, progress=progress)
    sheet = out / "result.png"
    write_picture(sheet, contact_sheet(driven))
    progress.note(f"\n{driven}: a driver on the left, the avatar doing the same on the right")
    progress.note(f"{sheet}: {_SHOWN} frames of it")
    progress.note(f"{avatar / 'preview.mp4'}: frames held out of the training, and what the avatar makes of them")


def _film(name: str, out: Path, template: BodyTemplate, overwrite: bool, progress: Progress) -> Path:
    path = out / f"{name}.mp4"
    if overwrite or not path.is_file():
        performer = Performer(template)
        write_performance(path, performer, name, FRAMES[name], FPS, SIZE, progress)
    return path


def contact_sheet(video: Path, columns: int = _SHOWN) -> np.ndarray:
    """Evenly spread frames of a video side by side: one row, or two for wide frames."""
    count = probe(video).frames
    wanted = set(np.linspace(0.08 * count, 0.92 * count, columns).astype(int).tolist())
    frames = [frame for i, frame in enumerate(read_frames(video)) if i in wanted]
    height, (rows, width) = 320, frames[0].shape[:2]
    shape = (round(width * height / rows), height)
    small = [cv2.resize(frame, shape, interpolation=cv2.INTER_AREA) for frame in frames]
    half = len(small) // 2
    return np.concatenate([np.concatenate(small[:half], 1), np.concatenate(small[half : 2 * half], 1)], 0)
