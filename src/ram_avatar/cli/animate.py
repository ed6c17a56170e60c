"""`ram-avatar animate`."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from ..options import AvatarOptions, FaceModelOptions, RotateOptions
from .arguments import Flat, JointNames, Overwrite, Rate, Up, VisibleMark, lists_formats
from .terminal import TerminalProgress


@lists_formats
def animate(
    avatar: Positional[Path],
    driver: Positional[Path],
    out: Positional[Path],
    background: Annotated[str | None, arg(help="an image file, or 'transparent' (.mov and .webm)")] = None,
    side_by_side: Annotated[bool, arg(help="show the driver on the left")] = False,
    keep_place: Annotated[bool, arg(help="keep the avatar in place; it does not walk with the driver")] = False,
    align: Annotated[
        str,
        arg(
            help="what to do with poses that the avatar's video never showed: auto moves them towards those it did, no "
            "limb by more than 10 degrees; on is the paper's full alignment, which can lose a gesture; off leaves them"
        ),
    ] = "auto",
    align_strength: Annotated[float, arg(help="how far to move poses, from 0 (not at all) to 1 (all the way)")] = 1.0,
    frame: Annotated[
        str,
        arg(help="the avatar's own video frame (source), or the largest square, portrait or WIDTHxHEIGHT part of it"),
    ] = "source",
    size: Annotated[int | None, arg(help="longer side in pixels; default: the video's own")] = None,
    camera: Annotated[str, arg(help="still, or source: move as the driver's camera did")] = "still",
    visible_mark: VisibleMark = False,
    joint_names: JointNames = None,
    up: Up = None,
    fps: Rate = None,
    loading: Flat[AvatarOptions] = AvatarOptions(),
    face: Flat[FaceModelOptions] = FaceModelOptions(),
    video: Flat[RotateOptions] = RotateOptions(),
    overwrite: Overwrite = False,
) -> None:
    """Drive an avatar with a motion, and write the video.

    A driver is a video, a capture folder, or a motion file: {formats}.
    """
    from ..animation.animate import animate as run
    from ..animation.options import AnimateOptions
    from ..avatar import Avatar
    from ..core.device import choose_device

    options = AnimateOptions(
        joint_names=joint_names,
        up=up,
        fps=fps,
        face_model=face.face_model,
        rotate=video.rotate,
        keep_place=keep_place,
        align=align,
        align_strength=align_strength,
        background=background,
        side_by_side=side_by_side,
        frame=frame,
        size=size,
        camera=camera,
        visible_mark=visible_mark,
    )
    with TerminalProgress() as progress:
        loaded = Avatar.load(
            avatar,
            device=choose_device(loading.accelerator),
            smplx_model=loading.smplx_model,
            progress=progress,
        )
        run(loaded, driver, out, options, overwrite=overwrite, progress=progress)
        progress.note(f"{out}: ready")
