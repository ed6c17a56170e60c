"""Motions from one file into another, and as a video of a shaded body."""

from pathlib import Path

from torch import Tensor

from .body import BodyTemplate, load_template
from .errors import UserError
from .files import check_output
from .motion.motion import Motion
from .motion.reading import read_motion
from .motion.writing import check_suffix, write_motion
from .progress import Progress, Silent, follow
from .rendering.stage import Stage
from .tracking.capture import Capture, is_capture
from .video import VideoWriter

_MAX_FPS = 1000.0
_SIZES = range(64, 4097, 2)


def convert(
    source: str | Path,
    out: str | Path,
    *,
    fps: float | None = None,
    template: BodyTemplate | None = None,
    joint_names: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Motion:
    """Write a motion in another format (`motion.writing`), or at another rate.

    Args:
        source: any motion file (`motion.reading`), or a capture folder.
        fps: frames a second of the result; without, the source's own (see `read_motion` for very fast ones).
        template: the body of a motion that is not a capture's; the default one without.
        joint_names: a YAML file for a skeleton with joint names of its own, see `motion.joint_map`.

    Returns:
        What was written.

    Raises:
        UserError: a source that cannot be read, a format that is not written, a rate that cannot be; `out` exists.
    """
    progress, out = progress or Silent(), check_output(out, overwrite)
    check_suffix(out)
    if fps is not None and not 0 < fps <= _MAX_FPS:
        raise UserError(f"{fps:g} frames a second are not possible; more than 0, and at most {_MAX_FPS:g} are")
    template, motion, identity = _open(Path(source), template, joint_names, fps, progress)
    write_motion(out, motion, template, identity, progress)
    return motion


def show(
    source: str | Path,
    out: str | Path,
    *,
    size: int = 512,
    template: BodyTemplate | None = None,
    joint_names: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Draw a motion as a shaded body on a floor, followed by a camera, into a square video.

    Args:
        source: see `convert`.
        out: `.mp4`, `.mov` or `.webm`.
        size: side of the pictures, pixels.

    Raises:
        UserError: a source that cannot be read, a size that cannot be; `out` exists.
    """
    progress, out = progress or Silent(), check_output(out, overwrite)
    if size not in _SIZES:
        raise UserError(f"--size {size} is not possible; even sizes from {_SIZES[0]} to {_SIZES[-1]} are")
    template, motion, identity = _open(Path(source), template, joint_names, None, progress)
    pictures = Stage.around(motion, template, identity, size).draw(motion)
    with VideoWriter(out, size, size, motion.fps) as video:
        for picture in follow(pictures, progress, "Drawing", len(motion)):
            video.write(picture)


def _open(
    source: Path,
    template: BodyTemplate | None,
    joint_names: str | Path | None,
    fps: float | None,
    progress: Progress,
) -> tuple[BodyTemplate, Motion, Tensor]:
    """A motion, its template, and whose body it is on."""
    if is_capture(source):
        capture = Capture.load(source)
        motion = capture.motion if fps is None else capture.motion.resampled(fps)
        return load_template(motion.template, progress.wait), motion, capture.identity
    if source.is_dir():
        raise UserError(f"{source}: not a capture folder, and no motion file")
    template = template or load_template(status=progress.wait)
    motion = read_motion(source, template, joint_names=joint_names, fps=fps, progress=progress)
    return template, motion, template.default_identity()
