"""Motions from one file into another, and as a video of a shaded body."""

from pathlib import Path

from torch import Tensor

from .body import BodyTemplate, load_template
from .capture.capture import Capture, is_capture
from .core.errors import UserError
from .core.files import check_output
from .core.progress import SILENT, Progress, follow
from .motion.formats.reading import ReadOptions, read_motion
from .motion.formats.writing import check_suffix, write_motion
from .motion.motion import Motion
from .options import TemplateOptions
from .rendering.stage import Stage
from .video import VideoWriter

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
    """Write a motion in another format (`motion.writing`), or at another rate.

    Args:
        source: any motion file (`motion.reading`), or a capture folder.
        template: the body of a motion that is not a capture's.
        options: what the source does not say; its `fps` is the rate of the result.

    Returns:
        What was written.

    Raises:
        UserError: a source that cannot be read, a format that is not written, a rate that cannot be; `out` exists.
    """
    out = check_output(out, overwrite)
    check_suffix(out)
    body, motion, identity = _open(Path(source), template, options or ReadOptions(), progress)
    write_motion(out, motion, body, identity, progress)
    return motion


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
    """Draw a motion as a shaded body on a floor, followed by a camera, into a square video.

    Args:
        source, options: see `convert`; the video is at the motion's rate.
        out: `.mp4`, `.mov` or `.webm`.
        size: side of the pictures, pixels.

    Raises:
        UserError: a source that cannot be read, a size that cannot be; `out` exists.
    """
    out = check_output(out, overwrite)
    if size not in _SIZES:
        raise UserError(f"--size {size} is not possible; even sizes from {_SIZES[0]} to {_SIZES[-1]} are")
    body, motion, identity = _open(Path(source), template, options or ReadOptions(), progress)
    pictures = Stage.around(motion, body, identity, size).draw(motion)
    with VideoWriter(out, size, size, motion.fps) as video:
        for picture in follow(pictures, progress, "Drawing", len(motion)):
            video.write(picture)


def _open(
    source: Path, wanted: TemplateOptions, options: ReadOptions, progress: Progress
) -> tuple[BodyTemplate, Motion, Tensor]:
    """A motion, its template, and whose body it is on."""
    if is_capture(source):
        options.check_unused(source, rate=True)
        capture = Capture.load(source)
        motion = capture.motion if options.fps is None else capture.motion.resampled(options.fps)
        template = load_template(motion.template, smplx_model=wanted.smplx_model, progress=progress)
        return template, motion, capture.identity
    if source.is_dir():
        raise UserError(f"{source}: not a capture folder, and no motion file")
    template = load_template(wanted.template, smplx_model=wanted.smplx_model, progress=progress)
    motion = read_motion(source, template, options=options, progress=progress)
    return template, motion, template.default_identity()
