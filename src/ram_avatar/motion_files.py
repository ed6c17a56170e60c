"""Motions from one file into another, and as a video of a shaded body."""

from pathlib import Path

from .body import load_template
from .core.errors import UserError
from .core.files import check_output
from .core.progress import SILENT, Progress, follow
from .drivers.sources import CaptureSource, DriverClip, open_motion
from .motion.formats import ReadOptions
from .motion.formats.writing import check_suffix, write_motion
from .motion.motion import Motion
from .options import TemplateOptions
from .rendering.stage import Stage
from .video import GENERATED, VideoWriter

_SIZES = range(64, 4097, 2)


def convert(
    source: str | Path,
    out: str | Path,
    *,
    template: TemplateOptions = TemplateOptions(),
    options: ReadOptions | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Motion:
    """Write a motion in another format (`motion.formats`), or at another rate.

    Args:
        source: a motion file, or a capture folder.
        template: the body that a motion file is put on; a capture has its own.
        options: what the source does not say; its `fps` is the rate of the result.

    Returns:
        The motion that was written.

    Raises:
        UserError: the source cannot be read, the format cannot be written, an impossible rate; `out` exists.
    """
    out = check_output(out, overwrite)
    check_suffix(out)
    clip = _read(source, template, options, progress)
    write_motion(out, clip.motion, clip.template, clip.identity, progress)
    return clip.motion


def show(
    source: str | Path,
    out: str | Path,
    *,
    size: int = 512,
    template: TemplateOptions = TemplateOptions(),
    options: ReadOptions | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> None:
    """Draw a motion as a shaded body on a floor, followed by a camera, into a square video at the motion's rate.

    Args:
        source, template, options: see `convert`.
        out: `.mp4`, `.mov` or `.webm`.
        size: side of the frames, pixels; even, 64 to 4096.

    Raises:
        UserError: the source cannot be read, an impossible size; `out` exists.
    """
    out = check_output(out, overwrite)
    if size not in _SIZES:
        raise UserError(f"--size {size} is not possible; choose an even size from {_SIZES[0]} to {_SIZES[-1]}")
    clip = _read(source, template, options, progress)
    frames = Stage.around(clip.motion, clip.template, clip.identity, size).draw(clip.motion)
    with VideoWriter(out, size, size, clip.motion.fps, metadata=GENERATED) as video:
        video.write_all(follow(frames, progress, "Drawing", len(clip.motion)))


def _read(source: str | Path, wanted: TemplateOptions, options: ReadOptions | None, progress: Progress) -> DriverClip:
    opened = open_motion(source, options, smplx_model=wanted.smplx_model)
    template = None
    if not isinstance(opened, CaptureSource):
        template = load_template(wanted.template, smplx_model=wanted.smplx_model, progress=progress)
    with opened.clip(template, progress=progress) as clip:
        return clip
