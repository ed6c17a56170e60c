"""An avatar driven by somebody else's motion, into a video file."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch

from .avatar import Avatar, generated_by
from .body import BodyTemplate
from .capture.capture import Capture, is_capture
from .capture.footage import Footage
from .core.errors import UserError
from .core.files import check_output
from .core.images import fit, read_picture
from .core.progress import SILENT, Progress, follow
from .inference.render import render
from .motion.alignment.aligner import ALIGNMENT_FILE, MODES, Aligner
from .motion.formats import SUFFIXES, ReadOptions
from .motion.formats.reading import read_motion
from .motion.motion import Frame, Motion
from .motion.retargeting.retarget import Person, retarget
from .rendering.framing import warp
from .rendering.viewfinder import Viewfinder
from .rendering.visible_mark import mark
from .tracking.offline.options import TrackOptions
from .tracking.offline.track import track
from .video import VideoWriter

CAMERAS = ("still", "source")


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
    frame: str = "source",
    size: int | None = None,
    camera: str = "still",
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> None:
    """Drive an avatar and write the video: the frame of the avatar's own video, unless told otherwise.

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
        frame, size: see `rendering.viewfinder.Viewfinder.of`.
        camera: "still", or "source" to move as the driver's camera did.
        visible_mark: say in a corner of every picture that it is generated; the file's metadata always do.

    Raises:
        UserError: a driver that cannot be read, or of another template; `out` exists; `align` asked for and not there.
    """
    out = check_output(out, overwrite)
    check_alignment(avatar, align, align_strength, progress)
    transparent = background == "transparent"
    if transparent and side_by_side:
        raise UserError("a transparent video has no place for the driver beside it; choose one of the two")
    if camera not in CAMERAS:
        raise UserError(f"--camera is {' or '.join(CAMERAS)}, not '{camera}'")
    scene = avatar.camera.width, avatar.camera.height
    middle = float(avatar.camera.project(torch.from_numpy(avatar.placement.hips))[0]) / scene[0]
    view = Viewfinder.of(scene, frame, size, middle)
    plate = background if background is None or transparent else read_picture(Path(background))
    with _opened(Path(driver), avatar, face_model, options or ReadOptions(), rotate, progress) as opened:
        motion = opened.motion
        if side_by_side and opened.pictures is None:
            raise UserError(f"{driver}: a motion file has no pictures to show beside the avatar")
        if camera == "source" and opened.footage is None:
            raise UserError(f"{driver}: a motion file has no camera to follow; leave out --camera source")
        aligner = make_aligner(avatar, motion.fps, align, align_strength)
        driven = retarget(
            motion,
            avatar.template.to("cpu"),
            opened.person,
            avatar.person,
            keep_place=keep_place,
            align=aligner,
            progress=progress,
        )
        frames = render(avatar, driven, background=plate, size=view.scene)
        if camera == "source" and opened.footage.moves:
            frames = _shaken(frames, opened.footage)
        beside = None
        if side_by_side:
            beside = (fit(picture, view.width, view.height) for picture in opened.pictures)
        with VideoWriter(
            out,
            2 * view.width if side_by_side else view.width,
            view.height,
            motion.fps,
            audio_from=opened.sound,
            metadata=generated_by(avatar),
            alpha=transparent,
        ) as video:
            for rendered in follow(frames, progress, "Rendering", len(driven)):
                shown = view(rendered)
                picture = np.concatenate([next(beside), shown], 1) if beside else shown
                video.write(mark(picture) if visible_mark else picture)


def _shaken(frames: Iterable[np.ndarray], footage: Footage) -> Iterator[np.ndarray]:
    """Pictures of the scene, as the moving camera of some footage would have filmed them."""
    for index, picture in enumerate(frames):
        height, width = picture.shape[:2]
        zoom = np.diag([width / footage.size[0], height / footage.size[1], 1.0])
        matrix = zoom @ np.linalg.inv(footage.matrix(index)) @ np.linalg.inv(zoom)
        yield warp(picture, matrix, (width, height), border=cv2.BORDER_REPLICATE)


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


@dataclass(frozen=True)
class _Driver:
    """What drives an avatar."""

    motion: Motion
    person: Person
    pictures: Iterator[np.ndarray] | None = None  # to be shown beside the avatar
    sound: Path | None = None  # the file that it is in
    footage: Footage | None = None  # how it was filmed


@contextmanager
def _opened(
    driver: Path,
    avatar: Avatar,
    face_model: str | Path | None,
    options: ReadOptions,
    rotate: int,
    progress: Progress,
) -> Iterator[_Driver]:
    template = avatar.template.to("cpu")
    if rotate and (is_capture(driver) or driver.suffix.lower() in SUFFIXES):
        raise UserError(f"{driver}: --rotate is for videos")
    if is_capture(driver):
        options.check_unused(driver)
        capture = Capture.load(driver)
        check_template(capture.motion, avatar, driver)
        yield _filmed(capture, template)
    elif driver.suffix.lower() in SUFFIXES:
        # A motion file has no body of its own: it is taken to be the avatar's.
        identity = avatar.identity.cpu()
        motion = read_motion(driver, template, identity, options, progress)
        yield _Driver(motion, Person.of(motion, template, identity))
    else:
        options.check_unused(driver)
        with TemporaryDirectory() as scratch:
            capture = track(
                driver,
                Path(scratch) / "capture",
                TrackOptions(face_model=face_model, rotate=rotate),
                template=template,
                one_scene=False,
                progress=progress,
            )
            yield _filmed(capture, template)


def _filmed(capture: Capture, template: BodyTemplate) -> _Driver:
    person = Person.of(capture.shown_motion, template, capture.identity)
    footage = capture.footage
    return _Driver(capture.motion, person, footage.read(capture.folder), capture.folder / footage.file, footage)


def check_template(motion: Motion, avatar: Avatar, where: Path) -> None:
    """Raises UserError where the motion is of another template than the avatar."""
    if motion.template != avatar.template.name:
        raise UserError(
            f"{where}: a motion of body template '{motion.template}'; this avatar's is '{avatar.template.name}'"
        )
