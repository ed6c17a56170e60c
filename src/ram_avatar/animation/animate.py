"""An avatar driven by someone else's motion, into a video file."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

from ..avatar import Avatar, generated_by
from ..capture.capture import Footage
from ..core.errors import UserError
from ..core.files import check_output
from ..core.images import fit
from ..core.progress import SILENT, Progress, follow
from ..core.untrusted.pictures import read_picture
from ..drivers.sources import DriverClip, open_driver
from ..inference.render import render
from ..motion.alignment.aligner import ALIGNMENT_FILE, Aligner
from ..motion.motion import Motion
from ..motion.retargeting.retarget import retarget
from ..rendering.framing import warp
from ..rendering.viewfinder import Viewfinder
from ..rendering.visible_mark import mark
from ..video import VideoWriter
from .options import TRANSPARENT, AnimateOptions


def animate(
    avatar: Avatar,
    driver: str | Path,
    out: str | Path,
    options: AnimateOptions = AnimateOptions(),
    *,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> None:
    """Drive an avatar and write the video.

    Args:
        driver: a video, which is tracked first, a capture folder, or a motion file.
        out: `.mp4`, `.mov` or `.webm`.

    Raises:
        UserError: the driver cannot be read, is of another template, or lacks what the options need; `out` exists; the
            avatar has no alignment, but `align` is "on".
    """
    out = check_output(out, overwrite)
    _check_alignment(avatar, options.align, progress)
    view = _viewfinder(avatar, options)
    background: np.ndarray | str | None = None
    if options.background is not None:
        background = TRANSPARENT if options.transparent else read_picture(Path(options.background))
    with open_driver(driver, options).clip(avatar.template.to("cpu"), avatar.identity.cpu(), progress) as clip:
        capture = clip.capture
        if options.side_by_side and capture is None:
            raise UserError(f"{driver}: a motion file has no images to show beside the avatar")
        if options.camera == "source" and capture is None:
            raise UserError(f"{driver}: a motion file has no camera to follow; leave out --camera source")
        driven = drive(avatar, clip, options, progress)
        frames: Iterable[np.ndarray] = render(avatar, driven, background=background, size=view.scene)
        if capture and options.camera == "source":
            frames = _moved(frames, capture.footage)
        frames = map(view, frames)
        if capture and options.side_by_side:
            frames = _side_by_side(capture.footage.read(capture.folder), frames)
        with VideoWriter(
            out,
            2 * view.width if options.side_by_side else view.width,
            view.height,
            driven.fps,
            audio_from=capture.folder / capture.footage.file if capture else None,
            metadata=generated_by(avatar),
            alpha=options.transparent,
        ) as video:
            if options.visible_mark:
                frames = map(mark, frames)
            video.write_all(follow(frames, progress, "Rendering", len(driven)))


def drive(
    avatar: Avatar, clip: DriverClip, options: AnimateOptions = AnimateOptions(), progress: Progress = SILENT
) -> Motion:
    """Return the motion of an avatar that follows a driver: retargeted, and aligned as the options say."""
    return retarget(
        clip.motion,
        clip.template,
        clip.person,
        avatar.person,
        keep_place=options.keep_place,
        align=_aligner(avatar, clip.motion.fps, options),
        progress=progress,
    )


def _viewfinder(avatar: Avatar, options: AnimateOptions) -> Viewfinder:
    """Return the part of the scene to show, with the avatar in its middle."""
    scene = avatar.camera.width, avatar.camera.height
    middle = float(avatar.camera.project(torch.from_numpy(avatar.placement.hips))[0]) / scene[0]
    return Viewfinder.of(scene, options.frame, options.size, middle)


def _moved(frames: Iterable[np.ndarray], footage: Footage) -> Iterator[np.ndarray]:
    """Warp images of the scene to what the footage's camera, if it moves, would have filmed."""
    for index, frame in enumerate(frames):
        to_scene = footage.matrix(index)
        if to_scene is not None:
            height, width = frame.shape[:2]
            zoom = np.diag([width / footage.size[0], height / footage.size[1], 1.0])
            matrix = zoom @ np.linalg.inv(to_scene) @ np.linalg.inv(zoom)
            frame = warp(frame, matrix, (width, height), border=cv2.BORDER_REPLICATE)
        yield frame


def _side_by_side(left: Iterator[np.ndarray], right: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Join frames with those on the right; the left ones are scaled to their size."""
    for frame in right:
        height, width = frame.shape[:2]
        yield np.concatenate([fit(next(left), width, height), frame], 1)


def _check_alignment(avatar: Avatar, align: str, progress: Progress) -> None:
    """Raise a UserError if the avatar cannot be aligned but must be; note it if "auto" has no effect."""
    if align == "off" or avatar.alignment:
        return
    if align == "on":
        raise UserError(
            f"avatar '{avatar.name}' has no {ALIGNMENT_FILE}, so poses cannot be aligned to its own motion; run "
            "`ram-avatar train CAPTURE AVATAR` to add it"
        )
    progress.note(f"Poses are not aligned: the avatar has no {ALIGNMENT_FILE}; `ram-avatar train` adds it")


def _aligner(avatar: Avatar, fps: float, options: AnimateOptions) -> Aligner | None:
    """Return what aligns a driver's frames, one after the other; None to leave them as they are."""
    if options.align == "off" or not avatar.alignment:
        return None
    return Aligner(avatar.alignment, avatar.template.to("cpu"), fps, options.align, options.align_strength)
