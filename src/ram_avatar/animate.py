"""An avatar driven by somebody else's motion, into a video file."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from .avatar import Avatar
from .create import generated_by
from .errors import UserError
from .files import check_output
from .motion.alignment import ALIGNMENT_FILE, MODES, Aligner
from .motion.motion import Frame, Motion
from .motion.reading import SUFFIXES, ReadOptions, read_motion
from .motion.retarget import Person, retarget
from .pictures import fit_square, read_picture
from .progress import Progress, Silent, follow
from .rendering.marking import mark
from .tracking.capture import Capture, is_capture
from .tracking.track import track
from .video import VideoWriter, read_frames


def animate(
    avatar: Avatar,
    driver: str | Path,
    out: str | Path,
    *,
    background: str | Path | None = None,
    side_by_side: bool = False,
    keep_place: bool = False,
    align: str = "auto",
    align_strength: float = 1.0,
    visible_mark: bool = False,
    face_model: str | Path | None = None,
    options: ReadOptions | None = None,
    rotate: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Drive an avatar and write the video.

    Args:
        driver: a video (tracked first), a capture folder, or a motion file (`motion.reading`).
        out: `.mp4`, `.mov` or `.webm`.
        background: a picture's file, "transparent" (`.mov` or `.webm`), or None for the avatar's own room.
        side_by_side: show the driver's video on the left.
        options: what a motion file does not say: joint names, the axis that is up, the frame rate.
        rotate: degrees clockwise to turn a driver's video by, see `video.probe`.
        keep_place: the avatar stays where it stands; see `motion.retarget`.
        align: "auto" moves poses that the avatar's video never showed towards those that it did, by at most 10 degrees
            a bone; "on" is the paper's full alignment of every pose; "off" leaves poses as they are. See
            `motion.alignment`.
        align_strength: share of the way, 0 to 1.
        visible_mark: say in a corner of every picture that it is generated; the file's metadata always do.

    Raises:
        UserError: a driver that cannot be read, or of another template; `out` exists; `align` asked for and not there.
    """
    progress, out = progress or Silent(), check_output(out, overwrite)
    check_alignment(avatar, align, align_strength, progress)
    transparent = background == "transparent"
    if transparent and side_by_side:
        raise UserError("a transparent video has no place for the driver beside it; choose one of the two")
    plate = background if background is None or transparent else read_picture(Path(background))
    with _opened(Path(driver), avatar, face_model, options or ReadOptions(), rotate, progress) as (
        motion,
        source,
        shown,
        sound,
    ):
        if side_by_side and shown is None:
            raise UserError(f"{driver}: a motion file has no pictures to show beside the avatar")
        aligner = make_aligner(avatar, motion.fps, align, align_strength)
        driven = retarget(
            motion,
            avatar.template.to("cpu"),
            source,
            avatar.person,
            keep_place=keep_place,
            align=aligner,
            progress=progress,
        )
        size = avatar.camera.width
        frames = avatar.render(driven, background=plate)
        beside = (fit_square(frame, size) for frame in shown) if side_by_side else None
        with VideoWriter(
            out,
            2 * size if side_by_side else size,
            size,
            motion.fps,
            audio_from=sound,
            metadata=generated_by(avatar),
            alpha=transparent,
        ) as video:
            for frame in follow(frames, progress, "Rendering", len(driven)):
                picture = np.concatenate([next(beside), frame], 1) if beside else frame
                video.write(mark(picture) if visible_mark else picture)


def check_alignment(avatar: Avatar, align: str, strength: float, progress: Progress) -> None:
    """Raises UserError where the avatar cannot be aligned as it is asked for; says so where "auto" does nothing."""
    if align not in MODES:
        raise UserError(f"align is {', '.join(MODES)}, not '{align}'")
    if not 0 <= strength <= 1:
        raise UserError(f"the strength of the alignment is between 0 and 1, not {strength:g}")
    if align == "off" or avatar.alignment:
        return
    if align == "on":
        raise UserError(
            f"avatar '{avatar.name}' has no {ALIGNMENT_FILE}: it does not know its own motion, so that nothing can be "
            "aligned to it; `ram-avatar train CAPTURE AVATAR` adds it to a finished avatar, and makes it with a new one"
        )
    progress.note(f"Poses are not aligned: the avatar has no {ALIGNMENT_FILE}; `ram-avatar train` adds it")


def make_aligner(avatar: Avatar, fps: float, align: str, strength: float) -> Callable[[Frame], Frame] | None:
    """What aligns a driver's frames, one after the other; None where nothing is to be aligned."""
    if align == "off" or not avatar.alignment:
        return None
    return Aligner(avatar.alignment, avatar.template.to("cpu"), fps, align, strength)


@contextmanager
def _opened(
    driver: Path,
    avatar: Avatar,
    face_model: str | Path | None,
    options: ReadOptions,
    rotate: int,
    progress: Progress,
) -> Iterator[tuple[Motion, Person, Iterator[np.ndarray] | None, Path | None]]:
    """The driver's motion and body, its pictures and the file with its sound where there are any."""
    template = avatar.template
    if rotate and (is_capture(driver) or driver.suffix.lower() in SUFFIXES):
        raise UserError(f"{driver}: --rotate is for videos")
    if is_capture(driver):
        options.check_unused(driver)
        capture = Capture.load(driver)
        check_template(capture.motion, avatar, driver)
        shown = capture.inside(capture.camera.width)[..., None]
        pictures = (frame * shown for frame, _ in capture.frames())
        yield capture.motion, Person.of(capture.shown_motion, template.to("cpu"), capture.identity), pictures, None
    elif driver.suffix.lower() in SUFFIXES:
        # A motion file has no body of its own: it is taken to be the avatar's.
        body, identity = template.to("cpu"), avatar.identity.cpu()
        motion = read_motion(driver, body, identity, options, progress)
        yield motion, Person.of(motion, body, identity), None, None
    else:
        options.check_unused(driver)
        with TemporaryDirectory() as scratch:
            on_cpu, folder = template.to("cpu"), Path(scratch) / "capture"
            capture = track(
                driver,
                folder,
                template=on_cpu,
                face_model=face_model,
                rotate=rotate,
                one_scene=False,
                progress=progress,
            )
            source = Person.of(capture.shown_motion, on_cpu, capture.identity)
            yield capture.motion, source, read_frames(driver, rotate=rotate), driver


def check_template(motion: Motion, avatar: Avatar, where: Path) -> None:
    """Raises UserError where the motion is of another template than the avatar."""
    if motion.template != avatar.template.name:
        raise UserError(
            f"{where}: a motion of body template '{motion.template}'; this avatar's is '{avatar.template.name}'"
        )
